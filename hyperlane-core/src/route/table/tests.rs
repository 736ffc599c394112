use super::*;

/// Looks up a path and returns the result as `value name=text ...`. A `|` separates several values.
fn look_up(table: &RouteTable<usize>, path: &str) -> String {
    let Some(found) = table.find(path) else {
        return "none".to_owned();
    };
    let routes: Vec<String> = found
        .iter()
        .map(|(route, params)| {
            let mut words = vec![route.value().to_string()];
            words.extend(params.iter().map(|(name, value)| format!("{name}={value}")));
            assert_eq!(params.len(), words.len() - 1);
            words.join(" ")
        })
        .collect();
    routes.join(" | ")
}

/// Inserts each pattern with its index as the value. Then looks up the paths.
fn check(patterns: &[&str], rows: &[(&str, &str)]) {
    let mut table = RouteTable::new();
    for (number, pattern) in patterns.iter().enumerate() {
        table.insert(pattern, number).unwrap();
    }
    for (path, want) in rows {
        assert_eq!(look_up(&table, path), *want, "{path:?} in {patterns:?}");
    }
}

#[test]
fn paths_are_taken_as_they_are() {
    check(
        &["/", "/a", "/b/", "//c", "/:x/d"],
        &[
            ("/", "0"),
            ("/a", "1"),
            ("/a/", "none"),
            ("/A", "none"),
            ("/b", "none"),
            ("/b/", "2"),
            ("//c", "3"),
            ("/c", "none"),
            ("/%61", "none"),
            ("/x/d", "4 x=x"),
            ("/%2F/d", "4 x=%2F"),
            ("//d", "none"),
            ("", "none"),
            ("a", "none"),
            ("*", "none"),
            ("example.org:443", "none"),
        ],
    );
    check(&[], &[("/", "none")]);
}

#[test]
fn what_is_more_particular_goes_first_in_any_order_of_insertion() {
    let patterns = [
        "/u/{*rest}",
        "/u/{t:t.*}",
        "/u/{name}",
        r"/u/{id:\d+}",
        "/u/me",
    ];
    let rows = [
        ("/u/me", "/u/me"),
        ("/u/42", r"/u/{id:\d+} id=42"),
        ("/u/tom", "/u/{t:t.*} t=tom"),
        ("/u/joe", "/u/{name} name=joe"),
        ("/u/tom/x", "/u/{t:t.*} t=tom/x"),
        ("/u/joe/x", "/u/{*rest} rest=joe/x"),
        ("/u/42/", "/u/{*rest} rest=42/"),
        ("/u//", "/u/{*rest} rest=/"),
        ("/u/", "none"),
        ("/u", "none"),
    ];
    for turn in 0..patterns.len() {
        let mut table = RouteTable::new();
        for pattern in patterns.iter().cycle().skip(turn).take(patterns.len()) {
            table.insert(pattern, *pattern).unwrap();
        }
        for (path, want) in rows {
            let found = table.find(path).map_or("none".to_owned(), |found| {
                let (route, params) = found.iter().next().unwrap();
                let params: String = params
                    .iter()
                    .map(|(name, value)| format!(" {name}={value}"))
                    .collect();
                format!("{}{params}", route.value())
            });
            assert_eq!(found, want, "{path} at turn {turn}");
        }
    }
}

#[test]
fn what_leads_nowhere_is_taken_back() {
    check(
        &[
            "/a/b",
            "/a/{x}/c",
            r"/a/{n:\d+}/d",
            "/{p}/b/{q}/e",
            "/{*rest}",
        ],
        &[
            ("/a/b", "0"),
            ("/a/b/c", "1 x=b"),
            ("/a/1/c", "1 x=1"),
            ("/a/1/d", "2 n=1"),
            ("/a/x/d", "4 rest=a/x/d"),
            ("/a/b/c/e", "3 p=a q=c"),
            ("/a/b/c/f", "4 rest=a/b/c/f"),
            ("/a", "4 rest=a"),
            ("/", "none"),
        ],
    );
    check(
        &["/{a}/x/{*b}", "/v/{c}/{d}/y", r"/v/x/{n:\d+}"],
        &[
            ("/v/x/1", "2 n=1"),
            ("/v/x/z", "0 a=v b=z"),
            ("/v/x/1/y", "1 c=x d=1"),
            ("/v/x/1/z", "0 a=v b=1/z"),
        ],
    );
}

#[test]
fn a_regex_in_the_last_place_takes_the_rest() {
    check(
        &[
            "/f/{path:.*}",
            r"/n/{n:\d+}",
            r"/m/{x:\d+}/{y:.+}",
            r"/m/{z:[a-z]+}/end",
        ],
        &[
            ("/f/a", "0 path=a"),
            ("/f/a/b/", "0 path=a/b/"),
            ("/f/", "0 path="),
            ("/f//", "0 path=/"),
            ("/f", "none"),
            ("/n/1", "1 n=1"),
            ("/n/1/2", "none"),
            ("/n/", "none"),
            ("/m/1/2/3", "2 x=1 y=2/3"),
            ("/m/a/end", "3 z=a"),
            ("/m/a/b/end", "none"),
        ],
    );
}

#[test]
fn one_place_keeps_all_its_values_with_their_own_names() {
    check(
        &[
            "/u/{id}",
            "/u/:name",
            "/x",
            "/x",
            r"/n/{a:\d+}",
            r"/n/{b:\d+}",
            r"/n/{c:\d*}",
            "/w/{*d}",
            "/w/{*e}",
        ],
        &[
            ("/u/7", "0 id=7 | 1 name=7"),
            ("/x", "2 | 3"),
            ("/n/7", "4 a=7 | 5 b=7"),
            ("/n/", "6 c="),
            ("/w/7/8", "7 d=7/8 | 8 e=7/8"),
        ],
    );
}

#[test]
fn many_parameters_spill() {
    let letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let pattern: String = letters
        .iter()
        .map(|letter| format!("/{{{letter}}}"))
        .collect();
    let decoy = format!("{pattern}/end");
    let path: String = letters
        .iter()
        .enumerate()
        .map(|(number, _)| format!("/{number}"))
        .collect();
    let values: String = letters
        .iter()
        .enumerate()
        .map(|(number, letter)| format!(" {letter}={number}"))
        .collect();
    check(
        &[&pattern, &decoy, "/{x}/{*y}"],
        &[
            (&path, &format!("0{values}")),
            (&format!("{path}/end"), &format!("1{values}")),
            (&format!("{path}/no"), "2 x=0 y=1/2/3/4/5/6/7/8/9/no"),
        ],
    );
}

#[test]
fn a_refused_pattern_leaves_the_table_as_it_was() {
    let mut table = RouteTable::new();
    assert_eq!(table.insert("", 0), Err(RouteError::EmptyPattern));
    assert!(table.insert("/a/{b", 0).is_err());
    assert!(table.is_empty());
    assert_eq!(look_up(&table, "/a/b"), "none");
}

#[test]
fn all_routes_are_listed_by_place() {
    let mut table = RouteTable::new();
    for (number, pattern) in ["/b/:x", "/a", "/b/{y}"].iter().enumerate() {
        table.insert(pattern, number).unwrap();
    }
    let routes: Vec<String> = table
        .iter()
        .map(|route| format!("{} {}", route.pattern(), route.value()))
        .collect();
    assert_eq!(routes, ["/b/{x} 0", "/b/{y} 2", "/a 1"]);
}
