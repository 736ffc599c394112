//! A server that sends an answer token by token. After a lost connection or a reload of the page, the client resumes at
//! the next token.
//!
//! ```text
//! cargo run --example llm_stream [-- 127.0.0.1:8080]
//! curl -c jar -d 'what is a channel?' http://127.0.0.1:8080/ask
//! curl -b jar -N http://127.0.0.1:8080/tokens
//! curl -b jar -N -H 'last-event-id: <the last id above>' http://127.0.0.1:8080/tokens
//! curl -b jar -X POST http://127.0.0.1:8080/cut
//! ```

use std::{io, time::Duration};

use hyperlane::{prelude::*, sse};
use tokio::time::sleep;

#[get("/")]
async fn page() -> impl IntoResponse {
    Html(include_str!("page.html"))
}

/// Starts a task that sends the answer, and returns at once. The task sends to a channel, even if no client is
/// connected.
#[post("/ask")]
async fn ask(ctx: &mut Context, question: String) -> impl IntoResponse {
    let tokens = ctx.sse();
    tokio::spawn(async move {
        // An error means that the channel has ended. No client will read the remaining tokens.
        if let Err(error) = answer(&question, &tokens).await {
            eprintln!("answer abandoned: {error}");
        }
    });
    HttpStatus::Accepted
}

/// Stands for a language model. Produces one word at a time.
async fn answer(question: &str, tokens: &ServerSentEvents) -> io::Result<()> {
    let text = format!(
        "You ask: {question} A channel belongs to a session and not to a connection. While the client is away, the channel \
         buffers tokens. When the client comes back, it names its last token, and the channel continues with the next \
         one. So this text has no gaps and no token twice, however often the connection is cut."
    );
    for token in text.split_inclusive(' ') {
        sleep(Duration::from_millis(60)).await;
        tokens.send_json(token).await?;
    }
    tokens.send_event(Event::new().event("done").data("")).await
}

/// Closes the connection of the event stream to simulate a network failure. The channel stays open and waits for the
/// next connection.
#[post("/cut")]
async fn cut(ctx: &mut Context) -> impl IntoResponse {
    ctx.sse().outbox().close(CloseCode::GOING_AWAY, "", true);
    HttpStatus::NoContent
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    let address = std::env::args().nth(1);
    server.bind(address.as_deref().unwrap_or("127.0.0.1:8080"));
    server
        .at("/tokens")
        .get(sse().buffer(1024).retry(Duration::from_millis(500)));
    let control = server.run().await?;
    for address in control.addresses() {
        println!("http://{address}");
    }
    control.wait().await;
    Ok(())
}
