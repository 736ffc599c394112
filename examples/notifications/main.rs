//! Notifications: a request sends to all open tabs of a user, and to tabs that are being loaded.
//!
//! ```text
//! cargo run --example notifications [-- 127.0.0.1:8080]
//! curl -d user=ann -d text=hello http://127.0.0.1:8080/notify
//! curl -H 'content-type: application/json' -d '{"user":"ann","text":"hello"}' http://127.0.0.1:8080/notify
//! ```
//!
//! Open the page in several tabs, log in as `ann`, and run these. Without a browser:
//!
//! ```text
//! curl -c jar -d name=ann http://127.0.0.1:8080/login
//! curl -b jar -N http://127.0.0.1:8080/events
//! ```

use hyperlane::{prelude::*, sse};
use serde::Deserialize;

/// The page; its own request sends to the channel that the page will connect to.
#[get("/")]
async fn index(ctx: &mut Context) -> impl IntoResponse {
    let events = ctx.sse();
    let welcome = match ctx.session().user() {
        Some(user) => format!("welcome, {user}"),
        None => "welcome, log in to be notified".to_owned(),
    };
    if let Err(error) = events.send(welcome).await {
        // This client loads pages and never connects.
        eprintln!("no welcome: {error}");
    }
    Html(include_str!("page.html"))
}

#[derive(Deserialize)]
struct Login {
    name: String,
}

/// Logs a client in under any name, without a password: the example begins after the login.
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

/// Takes a form or JSON, and answers with the number of sessions that it sent to. A session may have many tabs.
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
