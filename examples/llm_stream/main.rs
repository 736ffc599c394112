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
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use hyperlane::{prelude::*, sse};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

/// The maximum number of runs that a session stores, including those that are over. The session forgets the oldest run
/// that is over first.
const MOST: usize = 32;

/// The time for which a client can read the answer of a run that is over.
const KEPT: Duration = Duration::from_secs(3600);

/// A run as the session stores it. A real program would have it in its database.
#[derive(Serialize, Deserialize)]
struct Run {
    question: String,
    /// `None` while the run goes on.
    answer: Option<Answer>,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    text: String,
    at: SystemTime,
}

impl Run {
    fn is_forgotten(&self) -> bool {
        let end = self.answer.as_ref().map(|answer| answer.at);
        end.is_some_and(|end| end.elapsed().is_ok_and(|age| age > KEPT))
    }
}

/// The runs of all sessions.
#[derive(Clone, Default)]
struct Runs(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The number of runs so far.
    count: AtomicU64,
    /// Held while a session's list of runs changes.
    lists: Mutex<()>,
}

impl Runs {
    fn next_id(&self) -> u64 {
        self.0.count.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Adds a run to the session's list. Removes runs that are to be forgotten.
    fn add(&self, session: &Session, id: u64, run: &Run) -> Result<(), Error> {
        let _turn = self.0.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ids: Vec<u64> = session.get("runs").unwrap_or_default();
        let stored = |id: &u64| session.get::<Run>(name(*id));
        let (mut kept, mut gone): (Vec<_>, Vec<_>) = ids
            .drain(..)
            .partition(|id| stored(id).is_some_and(|run| !run.is_forgotten()));
        if kept.len() >= MOST {
            let is_over = |id: &u64| stored(id).is_some_and(|run| run.answer.is_some());
            let oldest = kept.iter().position(is_over);
            let oldest = oldest.ok_or_else(|| Error::new(429, "too many runs"))?;
            gone.push(kept.remove(oldest));
        }
        for id in gone {
            session.remove(name(id));
        }
        kept.push(id);
        session.insert("runs", &kept)?;
        session.insert(name(id), run)?;
        Ok(())
    }
}

/// The channel of a run. It ends when this value is dropped, also after an error or a panic: a channel that nothing
/// ends would count among the session's 16 channels until the end of its grace.
struct Tokens(ServerSentEvents);

impl Drop for Tokens {
    fn drop(&mut self) {
        self.0.close();
    }
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
    let id = runs.0.next_id();
    let tokens = Tokens(ctx.channel(name(id)).sse()?);
    let session = ctx.session();
    let run = Run {
        question: ask.0.question,
        answer: None,
    };
    runs.0.add(&session, id, &run)?;
    tokio::spawn(answer_to_end(id, run, tokens, session));
    Ok(Redirect::see_other(format!("/runs/{id}")))
}

/// Sends an answer until its end, or until the run is stopped. Then stores the answer, and ends the channel.
async fn answer_to_end(id: u64, mut run: Run, tokens: Tokens, session: Session) {
    let mut text = String::new();
    let sending = async {
        for token in model(&run.question).split_inclusive(' ') {
            sleep(Duration::from_millis(60)).await;
            text.push_str(token);
            if let Err(error) = tokens.0.send_json(token).await {
                eprintln!("run {id} abandoned: {error}");
                break;
            }
        }
    };
    tokio::select! {
        () = sending => {}
        // The program has closed the channel, or no client has come for an hour.
        () = tokens.0.closed() => {}
    }
    // The answer is stored before the channel ends. A client that gets 204 therefore finds it.
    let at = SystemTime::now();
    run.answer = Some(Answer { text, at });
    if let Err(error) = session.insert(name(id), &run) {
        eprintln!("run {id} not stored: {error}");
    }
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
    let run = session.and_then(|session| session.get::<Run>(name(id)));
    let run = run.filter(|run| !run.is_forgotten());
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
    let answer = run_of(ctx, id)?.answer.map(|answer| answer.text);
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
