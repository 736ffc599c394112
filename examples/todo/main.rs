//! A todo list as a JSON API: a scope with a prefix and CORS, a token for changes, one form of errors, a log of
//! requests, and a graceful shutdown. `tests/todo.rs` tests it without ports.
//!
//! ```text
//! TODO_TOKEN=secret cargo run --example todo [-- 127.0.0.1:8080]
//! curl http://127.0.0.1:8080/todos -H 'authorization: Bearer secret' --json '{"title": "milk"}'
//! ```

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hyperlane::{prelude::*, serde_json};
use serde::{Deserialize, Serialize};

/// A todo. Clients send the title, and `done` if it is true.
#[derive(Clone, Deserialize, Serialize)]
struct Todo {
    #[serde(skip_deserializing)]
    id: u64,
    title: String,
    #[serde(default)]
    done: bool,
}

/// The todos by id.
#[derive(Default)]
pub struct Todos(Mutex<BTreeMap<u64, Todo>>);

impl Todos {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Todo>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The secret that allows changes.
pub struct Token(pub String);

/// The pages that may use the API from another origin.
static PAGES: Cors = Cors::new().origins(&["https://app.example"]);

/// The routes below `/todos`.
#[scope("/todos", cors = super::PAGES)]
mod todos {
    use super::*;

    /// Lets requests with the token pass.
    async fn auth(ctx: &mut Context, next: Next<'_>) -> Result<Status, Error> {
        let token = ctx.state::<Token>();
        let fields = ctx.get_request().get_headers();
        let sent = fields
            .get("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        match sent == Some(token.0.as_str()) {
            true => Ok(next.run(ctx).await),
            false => Err(Error::new(
                401,
                "a token is missing: send `Authorization: Bearer ..`",
            )),
        }
    }

    #[get("/")]
    async fn list(todos: State<Todos>) -> Json<Vec<Todo>> {
        Json(todos.lock().values().cloned().collect())
    }

    #[get("/{id}")]
    async fn show(Path(id): Path<u64>, todos: State<Todos>) -> Option<Json<Todo>> {
        todos.lock().get(&id).cloned().map(Json)
    }

    #[post("/")]
    #[with(auth)]
    async fn create(
        todos: State<Todos>,
        Json(todo): Json<Todo>,
    ) -> Result<(HttpStatus, Json<Todo>), Error> {
        let mut todos = todos.lock();
        let id = todos.keys().next_back().map_or(1, |last| last + 1);
        let todo = checked(id, todo)?;
        todos.insert(id, todo.clone());
        Ok((HttpStatus::Created, Json(todo)))
    }

    #[put("/{id}")]
    #[with(auth)]
    async fn update(
        Path(id): Path<u64>,
        todos: State<Todos>,
        Json(todo): Json<Todo>,
    ) -> Result<Json<Todo>, Error> {
        let todo = checked(id, todo)?;
        match todos.lock().get_mut(&id) {
            Some(known) => known.clone_from(&todo),
            None => return Err(Error::new(404, "no such todo")),
        }
        Ok(Json(todo))
    }

    #[delete("/{id}")]
    #[with(auth)]
    async fn remove(Path(id): Path<u64>, todos: State<Todos>) -> Option<HttpStatus> {
        todos.lock().remove(&id).map(|_| HttpStatus::NoContent)
    }

    fn checked(id: u64, todo: Todo) -> Result<Todo, Error> {
        match todo.title.trim().is_empty() {
            true => Err(Error::new(422, "`title` is empty")),
            false => Ok(Todo { id, ..todo }),
        }
    }
}

/// Writes every error as JSON: `{"status": 404, "error": "Not Found"}`.
fn error_as_json(error: &ErrorInfo, _: &mut Context) -> Json<serde_json::Value> {
    let text = if error.text.is_empty() {
        error.title()
    } else {
        &error.text
    };
    Json(serde_json::json!({"status": error.status, "error": text}))
}

/// Configures a server. The tests do the same.
pub fn configure(server: &mut Server, token: String) {
    server
        .state(Todos::default())
        .state(Token(token))
        .errors(error_as_json)
        .access_log();
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    tracing_subscriber::fmt().init();
    let token = std::env::var("TODO_TOKEN").unwrap_or("secret".into());
    configure(&mut server, token);
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:0".into());
    let control = server.bind(address).run().await?;
    if let Some(address) = control.local_addr() {
        println!("http://{address}/todos");
    }
    // Ctrl-C ends the server: requests in flight get their answers.
    let _ = tokio::signal::ctrl_c().await;
    control.shutdown().await;
    Ok(())
}
