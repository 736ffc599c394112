//! Notifications. A request sends a message to all open tabs of a user, and to tabs that the browser is still loading.
//!
//! ```text
//! cargo run --example notifications [-- 127.0.0.1:8080]
//! curl -d user=ann -d text=hello http://127.0.0.1:8080/notify
//! curl -H 'content-type: application/json' -d '{"user":"ann","text":"hello"}' http://127.0.0.1:8080/notify
//! ```
//!
//! Open the page in several tabs, log in as `ann`, and run the commands above. Without a browser, use these commands:
//!
//! ```text
//! curl -c jar -d name=ann http://127.0.0.1:8080/login
//! curl -b jar -N http://127.0.0.1:8080/events
//! ```

use hyperlane::{prelude::*, sse};
use serde::Deserialize;

/// Serves the page. The request for the page sends a message to the channel to which the page will connect.
#[get("/")]
async fn index(ctx: &mut Context) -> impl IntoResponse {
    let events = ctx.sse();
    let welcome = match ctx.session().user() {
        Some(user) => format!("welcome, {user}"),
        None => "welcome, log in to be notified".to_owned(),
    };
    if let Err(error) = events.send(welcome).await {
        // The buffer of the channel may be full, because this client loads pages but never connects.
        eprintln!("no welcome: {error}");
    }
    Html(include_str!("page.html"))
}

#[derive(Deserialize)]
struct Login {
    name: String,
}

/// Logs a client in under any name. A real program would check a password here.
#[post("/login")]
async fn login(session: Session, Form(login): Form<Login>) -> Result<Redirect, Error> {
    session.set_user(login.name)?;
    session.renew()?;
    Ok(Redirect::see_other("/"))
}

#[derive(Deserialize)]
struct Notice {
    user: String,
    text: String,
}

/// Accepts a notice as a form or as JSON, and sends the text to all sessions of the user. Answers with the number of
/// these sessions. A session may have several tabs.
#[post("/notify")]
async fn notify(ctx: &mut Context) -> Result<String, Error> {
    let is_json = ctx
        .get_request()
        .header("content-type")
        .is_some_and(|kind| kind.starts_with(APPLICATION_JSON));
    let notice = match is_json {
        true => Json::<Notice>::from_context(ctx).await?.0,
        false => Form::<Notice>::from_context(ctx).await?.0,
    };
    let mut reached = 0;
    for session in ctx.channels().user(&notice.user) {
        reached += usize::from(session.sse().send(notice.text.as_str()).await.is_ok());
    }
    Ok(format!("{reached} reached\n"))
}

#[hyperlane(server: Server)]
#[tokio::main]
async fn main() -> Result<(), ServerError> {
    let address = std::env::args().nth(1);
    server.bind(address.as_deref().unwrap_or("127.0.0.1:8080"));
    server.at("/events").get(sse());
    let control = server.run().await?;
    for address in control.addresses() {
        println!("http://{address}");
    }
    control.wait().await;
    Ok(())
}
