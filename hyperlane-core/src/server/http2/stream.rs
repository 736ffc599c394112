//! The task of a stream: polled by the task of the connection, or a task of the runtime.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use tokio::task::JoinHandle;

use crate::conn::link::Link;

/// The task of a stream. `F` is what it runs.
pub(super) enum StreamTask<F> {
    /// The task of the connection polls the stream.
    Within {
        link: Arc<Link>,
        task: Pin<Box<F>>,
    },
    /// The stream has a task of its own, which `waker` wakes.
    Apart {
        waker: Arc<AtomicWaker>,
        task: JoinHandle<()>,
    },
    Ended,
}

/// A stream in a task of its own.
struct Apart<F> {
    waker: Arc<AtomicWaker>,
    task: Pin<Box<F>>,
}

impl<F: Future<Output = ()> + Send + 'static> StreamTask<F> {
    /// Creates the task of a stream. With `is_apart`, it is a task of its own from the beginning.
    pub(super) fn new(link: Arc<Link>, task: F, is_apart: bool) -> Self {
        let task = Box::pin(task);
        match is_apart {
            true => Self::begin(&link, task),
            false => Self::Within { link, task },
        }
    }

    fn begin(link: &Link, task: Pin<Box<F>>) -> Self {
        link.driver.set_own_task();
        let waker = Arc::<AtomicWaker>::default();
        let apart = Apart {
            waker: waker.clone(),
            task,
        };
        match link.env.spawn(apart) {
            Some(task) => Self::Apart { waker, task },
            // The server has no runtime any more.
            None => Self::Ended,
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Future for StreamTask<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Within { link, task } = &mut *self {
            if task.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if !link.driver.wants_own_task() {
                return Poll::Pending;
            }
            if let Self::Within { link, task } = mem::replace(&mut *self, Self::Ended) {
                *self = Self::begin(&link, task);
            }
        }
        match &mut *self {
            Self::Apart { waker, task } => {
                // The link, its timer and the protocol know only the waker of the first poll, which has led here.
                waker.wake();
                // A panic has ended the stream alone.
                Pin::new(task).poll(cx).map(drop)
            }
            _ => Poll::Ready(()),
        }
    }
}

impl<F: Future<Output = ()>> Future for Apart<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        self.task.as_mut().poll(cx)
    }
}
