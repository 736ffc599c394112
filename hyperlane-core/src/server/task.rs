//! The task of a connection.

use std::{future::Future, sync::Arc};

use tokio::sync::OwnedSemaphorePermit;

use super::{connections::Connections, listener::Accepted};
use crate::{
    conn::{link::Link, task::ConnectionTask},
    pipeline::{app::App, serve::serve},
};

/// Creates the task of an accepted connection, for the caller to spawn.
pub(crate) fn task(
    connections: &Arc<Connections>,
    app: &Arc<App>,
    accepted: Accepted,
    permit: OwnedSemaphorePermit,
) -> impl Future<Output = ()> + Send + 'static {
    task_of(connections, app, accepted, permit, |_| {})
}

/// Creates the task of an accepted connection. Calls `prepare` with the connection before the task is created.
pub(crate) fn task_of(
    connections: &Arc<Connections>,
    app: &Arc<App>,
    accepted: Accepted,
    permit: OwnedSemaphorePermit,
    prepare: impl FnOnce(&Link),
) -> impl Future<Output = ()> + Send + 'static {
    let connection = connections.live.insert(|key| {
        let from = (accepted.peer, accepted.via);
        Link::new(key, from, accepted.halves, connections.env.clone())
    });
    prepare(&connection);
    connection.arm(
        connection
            .now()
            .after(connections.env.config.header_timeout),
    );
    let inner = serve(connection.clone(), app.clone());
    ConnectionTask::new(connection, Some(permit), inner)
}
