//! Tests of rules that hold for every row of the table.

use super::{HANDLE, errors, expanded, good_arguments, good_item, in_order, tokens};
use crate::DECLARED;
use crate::model::{BodyRule, Role, Shape, Side};
use crate::table::ROWS;

#[test]
fn every_row_is_declared_in_the_order_of_the_table() {
    let rows: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(rows, DECLARED);
}

#[test]
fn every_name_is_unique() {
    let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ROWS.len());
}

#[test]
fn every_row_expands() {
    for row in ROWS {
        let code = expanded(row.name, good_arguments(row.shape), good_item(row));
        assert!(errors(&code).is_empty(), "{}: {code}", row.name);
        assert!(
            code.len() > tokens(good_item(row)).to_string().len(),
            "{}: {code}",
            row.name
        );
    }
}

#[test]
fn every_row_refuses_surplus_tokens_and_keeps_the_item() {
    for row in ROWS {
        let arguments = format!("{} ; surplus", good_arguments(row.shape));
        let code = expanded(row.name, &arguments, good_item(row));
        assert_eq!(errors(&code).len(), 1, "{}: {code}", row.name);
        // After an error, the expansion puts other code between the signature and the body of a function. The test
        // therefore looks for the signature and the body separately.
        let item = good_item(row).trim_start_matches("#[get(\"/\")] ");
        let item = tokens(item).to_string();
        let parts = item.split_inclusive("-> Status ");
        assert!(
            parts.into_iter().all(|part| code.contains(part)),
            "{}: {code}",
            row.name
        );
    }
}

#[test]
fn every_row_needs_the_arguments_its_shape_asks_for() {
    for row in ROWS {
        let code = expanded(row.name, "", good_item(row));
        let optional = matches!(
            row.shape,
            Shape::Nothing | Shape::MaybeName | Shape::MaybeValue | Shape::Order
        );
        match errors(&code).as_slice() {
            [] => assert!(optional, "{}", row.name),
            [message] => assert!(
                !optional && message.contains("needs arguments"),
                "{}: {message}",
                row.name
            ),
            more => panic!("{}: {more:?}", row.name),
        }
    }
}

#[test]
fn every_row_refuses_the_wrong_item() {
    for row in ROWS {
        let wrong = match row.role {
            Role::Register(_) => {
                "async fn handle(self, stream: &mut Stream, ctx: &mut Context) -> Status {}"
            }
            _ => "struct Hook;",
        };
        if row.role != Role::Import {
            let code = expanded(row.name, good_arguments(row.shape), wrong);
            assert_eq!(errors(&code).len(), 1, "{}: {code}", row.name);
        }
        let code = expanded(row.name, good_arguments(row.shape), "trait Other {}");
        assert_eq!(errors(&code).len(), 1, "{}: {code}", row.name);
    }
}

#[test]
fn every_function_macro_needs_an_async_function() {
    for row in ROWS.iter().filter(|row| {
        !matches!(
            row.role,
            Role::Declare | Role::Import | Role::Register(_) | Role::With
        )
    }) {
        let code = expanded(
            row.name,
            good_arguments(row.shape),
            "fn f(stream: &mut Stream, ctx: &mut Context) -> Status {}",
        );
        let messages = errors(&code);
        assert!(
            messages
                .iter()
                .any(|message| message.contains("add `async`")),
            "{}: {messages:?}",
            row.name
        );
    }
}

#[test]
fn every_function_macro_says_which_parameter_it_lacks() {
    for row in ROWS.iter().filter(|row| {
        !matches!(
            row.role,
            Role::Declare
                | Role::Import
                | Role::Register(_)
                | Role::With
                | Role::Body(BodyRule::Max)
        )
    }) {
        let code = expanded(
            row.name,
            good_arguments(row.shape),
            "async fn f() -> Status {}",
        );
        let messages = errors(&code);
        let free = matches!(row.role, Role::Condition { .. });
        assert_eq!(messages.is_empty(), free, "{}: {messages:?}", row.name);
        assert!(
            messages
                .iter()
                .all(|message| message.contains("add the parameter")),
            "{}: {messages:?}",
            row.name
        );
    }
}

#[test]
fn a_condition_or_guard_after_the_body_ends_its_list_and_a_read_cannot_stand_there() {
    for row in ROWS {
        let args = format!("{}({})", row.name, good_arguments(row.shape));
        match row.role {
            Role::Guard(_) | Role::Condition { .. } => {
                let code = expanded("epilogue_macros", &format!("{args}, try_flush"), HANDLE);
                assert!(errors(&code).is_empty(), "{code}");
                in_order(
                    &code,
                    &[
                        "body()",
                        "'__hl_list: {",
                        "if",
                        "break '__hl_list;",
                        "try_flush(",
                    ],
                );
                assert!(!code.contains("GUARDS"), "{code}");
            }
            Role::Read(_) => {
                let code = expanded("epilogue_macros", &args, HANDLE);
                assert!(errors(&code)[0].contains("cannot stand after it"), "{code}");
            }
            _ => {}
        }
    }
}

#[test]
fn the_table_has_both_sides_of_every_list() {
    for (name, side) in [("prologue", Side::Before), ("epilogue", Side::After)] {
        let role = |suffix: &str| {
            ROWS.iter()
                .find(|row| row.name == format!("{name}_{suffix}"))
                .map(|row| row.role)
        };
        assert_eq!(role("hooks"), Some(Role::Hooks(side)));
        assert_eq!(role("macros"), Some(Role::Macros(side)));
    }
}

#[test]
fn every_macro_has_a_program_that_compiles_and_one_that_does_not() {
    for folder in ["pass", "fail"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
        let files = std::fs::read_dir(path.join(folder)).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let programs: String = files
            .filter(|file| file.extension().is_some_and(|ending| ending == "rs"))
            .map(|file| std::fs::read_to_string(file).unwrap())
            .collect();
        let words: Vec<&str> = programs
            .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .collect();
        let names = ROWS.iter().map(|row| row.name);
        let missing: Vec<&str> = names.filter(|name| !words.contains(name)).collect();
        assert!(missing.is_empty(), "{folder}: {missing:?}");
    }
}

#[test]
fn the_first_page_has_one_row_per_macro() {
    let page = include_str!("../docs/macros.md");
    let (_, topics) = page.split_once("# All macros by topic").unwrap();
    for row in ROWS {
        let cell = format!("| [`{}`] |", row.name);
        assert_eq!(topics.matches(&cell).count(), 1, "{}", row.name);
    }
}
