//! Answers that outlive requests. A POST starts a run: a task that sends an answer token by token. Any tab of the
//! browser shows the run from its first token, and resumes it after a lost connection. A reload goes on, and several
//! runs go on side by side. When a run is over, its event stream gets 204, and the browser stops.
//!
//! ```text
//! cargo run --example llm_stream [-- 127.0.0.1:8080]
//! curl -c jar -i -d 'question=what is a channel?' http://127.0.0.1:8080/runs
//! curl -b jar -N http://127.0.0.1:8080/runs/1/tokens
//! curl -b jar -N -H 'last-event-id: <the last id above>' http://127.0.0.1:8080/runs/1/tokens
//! curl -b jar -X POST http://127.0.0.1:8080/runs/1/stop
//! curl -b jar http://127.0.0.1:8080/runs/1/answer
//! ```
//!
//! There is no message broker and no library in the page. The tokens wait in a named channel of the session, and the
//! page is an `EventSource`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hyperlane::{prelude::*, sse};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

/// The number of runs so far.
#[derive(Clone, Default)]
struct Runs(Arc<AtomicU64>);

/// A run as the session stores it. A real program would have it in its database.
#[derive(Serialize, Deserialize)]
struct Run {
    question: String,
    /// `None` while the run goes on.
    answer: Option<String>,
}

/// Returns the name of a run's channel. The session stores the run under the same name.
fn name(id: u64) -> String {
    format!("run-{id}")
}

#[get("/")]
async fn start_page() -> Html<&'static str> {
    Html(include_str!("page.html"))
}

#[derive(Deserialize)]
struct Ask {
    question: String,
}

/// Starts a run, and returns at once. The task sends to a channel, even if no client is connected. A session with 16
/// runs gets 429.
#[post("/runs")]
async fn start(ctx: &mut Context, runs: State<Runs>, ask: Form<Ask>) -> Result<Redirect, Error> {
    let id = runs.0.0.fetch_add(1, Ordering::Relaxed) + 1;
    let tokens = ctx.channel(name(id)).sse()?;
    let session = ctx.session();
    let question = ask.0.question;
    let answer = None;
    session.insert(name(id), &Run { question, answer })?;
    tokio::spawn(answer_to_end(id, tokens, session));
    Ok(Redirect::see_other(format!("/runs/{id}")))
}

/// Sends an answer until its end, or until the run is stopped. Then stores the answer, and ends the channel.
async fn answer_to_end(id: u64, tokens: ServerSentEvents, session: Session) {
    let Some(mut run) = session.get::<Run>(name(id)) else {
        return;
    };
    let mut answer = String::new();
    let sending = async {
        for token in model(&run.question).split_inclusive(' ') {
            sleep(Duration::from_millis(60)).await;
            answer.push_str(token);
            if let Err(error) = tokens.send_json(token).await {
                eprintln!("run {id} abandoned: {error}");
                break;
            }
        }
    };
    tokio::select! {
        () = sending => {}
        // The program has closed the channel, or no client has come for an hour.
        () = tokens.closed() => {}
    }
    // The answer is stored before the channel ends. A client that gets 204 therefore finds it.
    run.answer = Some(answer);
    if let Err(error) = session.insert(name(id), &run) {
        eprintln!("run {id} not stored: {error}");
    }
    tokens.close();
}

/// Stands for a language model.
fn model(question: &str) -> String {
    format!(
        "You ask: {question} A named channel belongs to a session and not to a connection. While the client is away, the \
         channel buffers tokens. When the client comes back, it names its last token, and the channel continues with the \
         next one. So this text has no gaps and no token twice, however often the connection is cut. Another run has \
         another channel, so the tokens of two runs never mix."
    )
}

/// Returns a run of the client's session.
fn run_of(ctx: &mut Context, id: u64) -> Result<Run, Error> {
    let session = ctx.try_session();
    let run = session.and_then(|session| session.get(name(id)));
    run.ok_or_else(|| Error::new(404, "no such run"))
}

#[get("/runs/{id}")]
async fn page(ctx: &mut Context, Path(id): Path<u64>) -> Result<Html<&'static str>, Error> {
    run_of(ctx, id)?;
    Ok(Html(include_str!("page.html")))
}

/// Returns the whole answer, once the run is over.
#[get("/runs/{id}/answer")]
async fn answer(ctx: &mut Context, Path(id): Path<u64>) -> Result<String, Error> {
    let answer = run_of(ctx, id)?.answer;
    answer.ok_or_else(|| Error::new(404, "the run is not over"))
}

/// Stops a run. The task of the run notices that its channel has ended.
#[post("/runs/{id}/stop")]
async fn stop(ctx: &mut Context, Path(id): Path<u64>) -> HttpStatus {
    ctx.channel(name(id)).close();
    HttpStatus::NoContent
}

/// Configures the server for runs.
pub(crate) fn serve_runs(server: &mut Server) {
    server.state(Runs::default());
    server.at("/runs/{id}/tokens").get(
        sse()
            .named("run-{id}")
            .from_start()
            .buffer(16 * 1024)
            .buffer_bytes(1024 * 1024)
            .grace(Duration::from_secs(3600))
            .retry(Duration::from_millis(500)),
    );
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    let address = std::env::args().nth(1);
    server.bind(address.as_deref().unwrap_or("127.0.0.1:8080"));
    serve_runs(&mut server);
    let control = server.run().await?;
    for address in control.addresses() {
        println!("http://{address}");
    }
    control.wait().await;
    Ok(())
}
