//! Handlers as functions and as structs.
//!
//! ```text
//! cargo run --example hello [-- 127.0.0.1:8080]
//! curl http://127.0.0.1:8080/
//! curl http://127.0.0.1:8080/hello/ada?times=2
//! curl http://127.0.0.1:8080/sum -d '[1, 2, 3]'
//! curl -i http://127.0.0.1:8080/sum -d 'no list'
//! curl -i -X DELETE http://127.0.0.1:8080/sum
//! ```

use hyperlane::prelude::*;

#[get("/")]
async fn index() -> impl IntoResponse {
    Html("<h1>It works</h1>")
}

#[get("/hello/{name}")]
#[route_param("name" => name)]
#[try_get_request_query("times" => times)]
async fn hello() -> Result<String, (HttpStatus, &'static str)> {
    let times = match times {
        Some(times) => times
            .parse()
            .map_err(|_| (HttpStatus::BadRequest, "`times` is not a number\n"))?,
        None => 1,
    };
    if times > 100 {
        return Err((HttpStatus::BadRequest, "`times` is at most 100\n"));
    }
    Ok(format!("hello {name}\n").repeat(times))
}

/// If the JSON is malformed, `request_body_json` refuses the request with 400, and the function's body does not run.
#[post("/sum")]
#[request_body_json(numbers: Vec<f64>)]
async fn sum() -> Json<f64> {
    Json(numbers.iter().sum())
}

/// Adds the header `Server` to every response. Runs after every route.
#[response_middleware]
struct NameServer;

impl ServerHook for NameServer {
    async fn new(_: &mut Stream, _: &mut Context) -> Self {
        Self
    }

    #[response_header(SERVER => HYPERLANE)]
    async fn handle(self, _: &mut Stream, _: &mut Context) -> Status {
        Status::Continue
    }
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    let address = std::env::args().nth(1);
    server.bind(address.as_deref().unwrap_or("127.0.0.1:8080"));
    let control = server.run().await?;
    for address in control.addresses() {
        println!("http://{address}");
    }
    control.wait().await;
    Ok(())
}
