//! Content negotiation by `Accept` (RFC 9110 §12.5.1), as far as errors need it: plain text or JSON.

/// The weight of a media type in an `Accept` field, in thousandths, and its place in the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Preference {
    weight: u16,
    /// The place of the item that names the type itself. `None` for a range such as `*/*`.
    named: Option<usize>,
    /// 0: no item; 1: `*/*`; 2: `type/*`; 3: the type. The most specific item decides.
    specific: u8,
}

/// Returns whether a client prefers JSON over plain text. `accept` has the values of its `Accept` fields.
///
/// Of two types with the same weight, the one that the client names wins, then the one that it names first. A client
/// that has no preference gets text.
pub(crate) fn prefers_json<'a>(accept: impl Iterator<Item = &'a str>) -> bool {
    let (mut json, mut text) = (Preference::default(), Preference::default());
    let items = accept.flat_map(|value| value.split(','));
    for (place, item) in items.enumerate().take(MOST_ITEMS) {
        let mut parts = item.split(';').map(str::trim_ascii);
        let range = parts.next().unwrap_or_default();
        let weight = parts
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.trim_ascii().eq_ignore_ascii_case("q"))
            .map_or(1000, |(_, weight)| thousandths(weight.trim_ascii()));
        for name in ["application/json", "application/problem+json"] {
            json.consider(range, name, weight, place);
        }
        for name in ["text/plain", "text/html"] {
            text.consider(range, name, weight, place);
        }
    }
    if json.weight != text.weight {
        return json.weight > text.weight;
    }
    match (json.named, text.named) {
        (Some(json), Some(text)) => json < text,
        (Some(_), None) => json.weight > 0,
        (None, _) => false,
    }
}

/// Items after this number are not read.
const MOST_ITEMS: usize = 64;

impl Preference {
    /// Takes an item of the list into account.
    fn consider(&mut self, range: &str, name: &str, weight: u16, place: usize) {
        let group = name.split_once('/').map_or(name, |(group, _)| group);
        let is_group = range
            .strip_suffix("/*")
            .is_some_and(|range| range.eq_ignore_ascii_case(group));
        let specific = match range {
            _ if range.eq_ignore_ascii_case(name) => 3,
            _ if is_group => 2,
            "*/*" => 1,
            _ => return,
        };
        if specific > self.specific || (specific == self.specific && weight > self.weight) {
            self.specific = specific;
            self.weight = weight;
            self.named = (specific == 3).then_some(place);
        }
    }
}

/// Reads a weight such as `0.8`. An invalid weight is 0.
fn thousandths(weight: &str) -> u16 {
    let (whole, part) = weight.split_once('.').unwrap_or((weight, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if part.len() > 3 || !is_digits(part) {
        return 0;
    }
    let part = format!("{part:0<3}").parse().unwrap_or(0);
    match whole {
        "0" => part,
        "1" => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::prefers_json;

    #[test]
    fn json_must_be_preferred() {
        let json = [
            "application/json",
            "application/problem+json",
            "Application/JSON ; q=1",
            "application/json, */*",
            "application/json, text/plain, */*",
            "text/plain;q=0.5, application/json;q=0.8",
            "text/*;q=0.1, application/*",
            "application/json;q=0.2",
            "text/html;q=0, */*",
        ];
        let text = [
            "",
            "*/*",
            "text/plain",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/plain, application/json",
            "application/json;q=0",
            "application/json;q=0, */*",
            "application/json;q=2",
            "application/json;q=0.1234",
            "application/json;q=-1",
            "image/png",
            "application/*, text/*",
            ",,;,",
        ];
        for accept in json {
            assert!(prefers_json([accept].into_iter()), "{accept}");
        }
        for accept in text {
            assert!(!prefers_json([accept].into_iter()), "{accept}");
        }
        // Several fields are one list.
        assert!(prefers_json(
            ["text/plain;q=0.1", "application/json"].into_iter()
        ));
        assert!(!prefers_json(std::iter::empty()));
    }
}
