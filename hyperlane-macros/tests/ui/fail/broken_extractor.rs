//! A body that uses the variable of a broken macro gives one error.

use hyperlane::*;

#[route("/users/{id}")]
struct Hook;

impl ServerHook for Hook {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[route_param("id" -> id)]
    #[request_body_json(user: User)]
    #[response_body(&id)]
    #[send]
    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        let text: String = format!("{id} {}", user.name);
        drop(text);
        Status::Continue
    }
}

fn main() {}
