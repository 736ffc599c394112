use super::*;

#[test]
fn patterns_are_read_and_written_back() {
    let rows = [
        ("/", "/", ""),
        ("/a", "/a", ""),
        ("/a/", "/a/", ""),
        ("//a", "//a", ""),
        ("/a:b", "/a:b", ""),
        ("/é%20/-._~!$&'()+,;=@", "/é%20/-._~!$&'()+,;=@", ""),
        ("/users/:id", "/users/{id}", "id"),
        ("/users/{id}", "/users/{id}", "id"),
        ("/:a/{b-c}/x/:d_1", "/{a}/{b-c}/x/{d_1}", "a b-c d_1"),
        (r"/users/{id:\d+}", r"/users/{id:\d+}", "id"),
        (r"/{y:\d{4}}/{m:\d{1,2}}", r"/{y:\d{4}}/{m:\d{1,2}}", "y m"),
        (r"/{x:\{}", r"/{x:\{}", "x"),
        (r"/{x:[{}]+}", r"/{x:[{}]+}", "x"),
        ("/{x:[]}]}", "/{x:[]}]}", "x"),
        ("/{x:[^]{}]+}/{y:[a]]}", "/{x:[^]{}]+}/{y:[a]]}", "x y"),
        (r"/{x:[\]}-]}/{y:[-]}", r"/{x:[\]}-]}/{y:[-]}", "x y"),
        ("/{x:a:b}", "/{x:a:b}", "x"),
        ("/{x:a?#}", "/{x:a?#}", "x"),
        ("/files/{*path}", "/files/{*path}", "path"),
    ];
    for (text, normal, params) in rows {
        let pattern = Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(pattern.to_string(), normal, "{text}");
        assert_eq!(
            pattern.params().collect::<Vec<_>>().join(" "),
            params,
            "{text}"
        );
        assert_eq!(pattern.is_static(), params.is_empty(), "{text}");
        assert_eq!(Pattern::parse(normal).as_ref(), Ok(&pattern), "{text}");
    }
}

#[test]
fn what_is_no_pattern_is_refused_with_a_reason() {
    let rows = [
        (
            "",
            "a route pattern cannot be empty; write `/` for the root",
        ),
        ("a/b", "the route pattern `a/b` must begin with `/`"),
        ("{*x}", "the route pattern `{*x}` must begin with `/`"),
        (
            "/a/{id:[0-9}",
            "the route pattern `/a/{id:[0-9}` has an invalid regex `[0-9`: found unclosed character class",
        ),
        (
            "/a/<id>",
            "the route pattern `/a/<id>` has the segment `<id>`; write `{name}` for a parameter",
        ),
        (
            "/a/x<int:id>/b",
            "the route pattern `/a/x<int:id>/b` has the segment `x<int:id>`; write `{name}` for a parameter",
        ),
        (
            "/[id]",
            "the route pattern `/[id]` has the segment `[id]`; write `{name}` for a parameter",
        ),
        (
            "/a?b",
            "the route pattern `/a?b` contains `?`, but query and fragment are not part of the path",
        ),
        (
            "/a#b",
            "the route pattern `/a#b` contains `#`, but query and fragment are not part of the path",
        ),
        (
            "/{a}/{a}",
            "the route pattern `/{a}/{a}` has the parameter `a` twice",
        ),
        (
            "/:a/{*a}",
            "the route pattern `/:a/{*a}` has the parameter `a` twice",
        ),
        (
            "/{}",
            "the route pattern `/{}` has a parameter without a name",
        ),
        (
            "/:",
            "the route pattern `/:` has a parameter without a name",
        ),
        (
            "/{*}",
            "the route pattern `/{*}` has a parameter without a name",
        ),
        (
            r"/{:\d}",
            r"the route pattern `/{:\d}` has a parameter without a name",
        ),
        (
            "/{a b}",
            "the route pattern `/{a b}` has the parameter name `a b`; names are letters, digits, `_` and `-`",
        ),
        (
            "/:a.json",
            "the route pattern `/:a.json` has the parameter name `a.json`; names are letters, digits, `_` and `-`",
        ),
        (
            "/{*a}/b",
            "the route pattern `/{*a}/b` continues after `{*a}`, which matches the whole rest",
        ),
        (
            "/{*a}/",
            "the route pattern `/{*a}/` continues after `{*a}`, which matches the whole rest",
        ),
        (
            "/{a",
            "the route pattern `/{a` does not close the brace in `{a`",
        ),
        (
            "/{a/b",
            "the route pattern `/{a/b` does not close the brace in `{a`",
        ),
        (
            "/{a:x{2}",
            "the route pattern `/{a:x{2}` does not close the brace in `{a:x{2}`",
        ),
        (
            "/{a:x/y}",
            "the route pattern `/{a:x/y}` contains a `/` inside the braces of `{a:x`",
        ),
        (
            "/a}",
            "the route pattern `/a}` mixes text and braces in `a}`; a parameter must be a whole segment",
        ),
        (
            "/img-{a}.png",
            "the route pattern `/img-{a}.png` mixes text and braces in `img-{a}.png`; a parameter must be a whole segment",
        ),
        (
            "/{a}.png/b",
            "the route pattern `/{a}.png/b` mixes text and braces in `{a}.png`; a parameter must be a whole segment",
        ),
        (
            "/{a}}",
            "the route pattern `/{a}}` mixes text and braces in `{a}}`; a parameter must be a whole segment",
        ),
        (
            "/files/*path",
            "the route pattern `/files/*path` has the segment `*path`; write `{*name}` for the rest of the path",
        ),
        (
            "/{a:}",
            "the route pattern `/{a:}` has an invalid regex ``: it is empty",
        ),
    ];
    for (text, reason) in rows {
        let error = Pattern::parse(text).expect_err(text);
        assert_eq!(error.to_string(), reason);
    }
    for regex in ["(", "a)|(b", "[", "[]", "[^]", "*", "a{2,1}"] {
        let text = format!("/{{a:{regex}}}");
        match Pattern::parse(&text) {
            Err(RouteError::InvalidRegexPattern { regex: found, .. }) => assert_eq!(found, regex),
            // The closing brace of the parameter lies within a character class that is not closed.
            Err(RouteError::UnclosedBrace { .. }) => assert_eq!(regex, "["),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn a_constraint_matches_the_whole_value() {
    let rows = [
        (r"\d+", "12", true),
        (r"\d+", "12a", false),
        (r"\d+", "", false),
        (r"\d+", "1\n", false),
        ("a|b", "ab", false),
        ("(?m)^a$", "a\nb", false),
        (".*", "", true),
        (".*", "a/b", true),
    ];
    for (source, value, want) in rows {
        let constraint = Constraint::new(source).unwrap();
        assert_eq!(constraint.matches(value), want, "{source} on {value:?}");
    }
}
