use super::*;

#[test]
fn familiar_setters_and_getters_agree() {
    let mut config = ServerConfig::new("h:1", None, Some(3));
    assert_eq!(
        (config.get_nodelay(), config.get_ttl(), config.get_address()),
        (None, Some(3), "h:1")
    );
    config.set_nodelay(Some(false)).set_ttl(None);
    assert_eq!(
        (config.try_get_nodelay(), config.try_get_ttl()),
        (Some(false), None)
    );
    assert_eq!(
        config,
        ServerConfig::default()
            .addresses(vec!["h:1".to_owned()])
            .nodelay(Some(false))
    );
}
