//! The table of a server's routes, for developers.

use std::{fmt, io::Write};

use super::Server;
use crate::{
    error::{Place, ServerError},
    hook::GuardKind,
    pipeline::app::{App, Hook},
};

/// A route of the server. `Display` writes it as a line of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteInfo {
    /// The pattern as written, or `(fallback)` for the handler of requests that match no route.
    pub pattern: String,
    /// The methods of the route. The list is empty if the route accepts every method. A GET route also answers HEAD.
    pub methods: Vec<&'static str>,
    /// The protocol to which the client must upgrade, such as `websocket`. `None` if the route requires no upgrade.
    pub upgrade: Option<&'static str>,
    /// The names of the hooks (functions) that run for the route, in order: request middleware, middleware that wraps,
    /// the handler, response middleware.
    pub hooks: Vec<&'static str>,
    /// The prefix of the route's scope; empty for the server itself.
    pub scope: String,
    /// The place in the program where the handler is registered.
    pub place: Place,
}

impl RouteInfo {
    fn new(app: &App, pattern: String, handler: &Hook) -> Self {
        let chain = app.chains.get(handler.chain);
        let before = chain.request_middleware.iter().map(|hook| hook.name);
        let around = chain.wraps.iter().map(|wrap| wrap.get().name());
        let after = chain.response_middleware.iter().map(|hook| hook.name);
        let hooks = before.chain(around).chain([handler.name]).chain(after);
        Self {
            pattern,
            methods: handler.methods().into_iter().flatten().collect(),
            upgrade: handler.guards().find_map(|guard| match guard {
                GuardKind::Upgrade(protocol) => Some(protocol),
                _ => None,
            }),
            hooks: hooks.collect(),
            scope: chain.scope.to_string(),
            place: handler.place,
        }
    }

    fn cells(&self) -> [String; 5] {
        let mut takes = match self.methods.as_slice() {
            [] => "any".to_owned(),
            methods => methods.join(", "),
        };
        if let Some(protocol) = self.upgrade {
            takes.push(' ');
            takes.push_str(protocol);
        }
        [
            self.pattern.clone(),
            takes,
            self.scope.clone(),
            self.hooks.join(" > "),
            self.place.to_string(),
        ]
    }
}

impl fmt::Display for RouteInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.cells();
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        let cells: Vec<&str> = cells.into_iter().filter(|cell| !cell.is_empty()).collect();
        f.write_str(&cells.join("  "))
    }
}

impl Server {
    /// Returns the routes, each with the hooks that run for it. The routes of one path are together. The paths are in
    /// the order in which the program registered their first route. The fallback is last.
    ///
    /// # Errors
    /// Returns the errors that [`run`](Self::run) returns for invalid hooks and configurations.
    ///
    /// ```
    /// # use hyperlane_core::{Context, Server, ServerHook, Status, Stream};
    /// # struct Hello;
    /// # impl ServerHook for Hello {
    /// #     async fn new(_: &mut Stream, _: &mut Context) -> Self { Self }
    /// #     async fn handle(self, _: &mut Stream, _: &mut Context) -> Status { Status::Continue }
    /// # }
    /// let mut server = Server::new();
    /// server.route::<Hello>("/hello");
    /// let routes = server.routes()?;
    /// assert_eq!((routes[0].pattern.as_str(), routes[0].methods.len()), ("/hello", 0));
    /// # Ok::<(), hyperlane_core::ServerError>(())
    /// ```
    pub fn routes(&self) -> Result<Vec<RouteInfo>, ServerError> {
        let app = self.check()?;
        Ok(app
            .all()
            .map(|(pattern, handler)| RouteInfo::new(&app, pattern, handler))
            .collect())
    }

    /// Prints the [`routes`](Self::routes) as a table to standard output.
    ///
    /// # Errors
    /// Returns the same errors as [`routes`](Self::routes).
    pub fn print_routes(&self) -> Result<(), ServerError> {
        let table = table(&self.routes()?);
        // An error is ignored: it means that the reader of the output has closed it, as `| head` does.
        let _ = std::io::stdout().write_all(table.as_bytes());
        Ok(())
    }
}

/// Formats a table. Each column is as wide as its widest cell. A column without values is left out.
fn table(routes: &[RouteInfo]) -> String {
    let head = ["ROUTE", "TAKES", "SCOPE", "HOOKS", "PLACE"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head)
        .chain(routes.iter().map(RouteInfo::cells))
        .collect();
    let mut widths = [0; 5];
    for row in rows.iter().skip(1) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for (width, title) in widths.iter_mut().zip(rows.first().into_iter().flatten()) {
        if *width > 0 {
            *width = (*width).max(title.len());
        }
    }
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths).filter(|(_, width)| *width > 0) {
            line.push_str(&format!("{cell:width$}  "));
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let place = Place {
            file: "src/main.rs",
            line: 7,
            column: 1,
        };
        let route = RouteInfo {
            pattern: "/rooms/{room}".to_owned(),
            methods: vec!["GET"],
            upgrade: Some("websocket"),
            hooks: vec!["Log", "room"],
            scope: String::new(),
            place,
        };
        let any = RouteInfo {
            pattern: "/".to_owned(),
            methods: Vec::new(),
            upgrade: None,
            hooks: vec!["index"],
            scope: String::new(),
            place,
        };
        assert_eq!(any.to_string(), "/  any  index  src/main.rs:7");
        assert_eq!(
            table(&[route, any.clone()]),
            "ROUTE          TAKES          HOOKS       PLACE\n\
             /rooms/{room}  GET websocket  Log > room  src/main.rs:7\n\
             /              any            index       src/main.rs:7\n"
        );
    }
}
