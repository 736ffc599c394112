//! Sorts the macros on a function by the phase in which they run. Macros of different phases can be written in any
//! order.

use syn::Error;

use crate::model::{Applied, Args, BodyRule, Check, Handle, Role, Side};

/// The macros of one function, sorted by phase. Macros of one phase are in source order.
#[derive(Default)]
pub(crate) struct Phases {
    pub(crate) registers: Vec<Applied>,
    /// Middleware around the route.
    pub(crate) wraps: Vec<Applied>,
    pub(crate) declarations: Vec<Applied>,
    pub(crate) imports: Vec<Applied>,
    pub(crate) guards: Vec<Applied>,
    pub(crate) read: Option<Applied>,
    pub(crate) extractors: Vec<Applied>,
    /// Limits of the request body. The server applies them before it calls the function.
    pub(crate) limits: Vec<Applied>,
    pub(crate) conditions: Vec<Applied>,
    /// The macros that run before the body: setters, calls of hooks, and entries of lists.
    pub(crate) setup: Vec<Applied>,
    /// The macro that opens a WebSocket or an event stream. It runs after all macros that can refuse the request or set
    /// a header.
    pub(crate) open: Option<Applied>,
    /// The macros that run after the body. A read macro runs the body once per message, and the epilogue then runs
    /// after each message.
    pub(crate) epilogue: Vec<Late>,
    /// The macro that closes the connection. It runs once, after all sends.
    pub(crate) close: Option<Applied>,
    /// The number of lists so far.
    lists: usize,
}

/// A macro that runs after the body.
pub(crate) struct Late {
    pub(crate) applied: Applied,
    /// The number of the list `epilogue_macros` that contains the macro. An attribute counts as a list of its own.
    pub(crate) list: usize,
}

impl Phases {
    /// Sorts the macros `applied`. Adds an error to `errors` for a macro that contradicts an earlier macro, or that its
    /// list cannot contain.
    pub(crate) fn sort(
        applied: impl IntoIterator<Item = Applied>,
        errors: &mut Vec<Error>,
    ) -> Self {
        let mut phases = Self::default();
        for applied in applied {
            if let Err(error) = phases.place(applied) {
                errors.push(error);
            }
        }
        phases
    }

    fn place(&mut self, mut applied: Applied) -> Result<(), Error> {
        match applied.row.role {
            Role::Register(_) => self.registers.push(applied),
            Role::With => self.wraps.push(applied),
            Role::Declare => self.declarations.push(applied),
            Role::Import => self.imports.push(applied),
            Role::Guard(_) => self.guards.push(applied),
            Role::Read(_) => return self.place_read(applied),
            Role::Extract(_) | Role::Require(_) => self.extractors.push(applied),
            Role::Body(BodyRule::Stream) => self.extractors.push(applied),
            Role::Body(BodyRule::Max) => self.limits.push(applied),
            Role::Open(_) => {
                self.refuse_second_handle(&applied)?;
                self.open = Some(applied);
            }
            Role::Condition { .. } => self.conditions.push(applied),
            Role::SetStatus
            | Role::SetHeader
            | Role::Set(_)
            | Role::OwnTask
            | Role::Hooks(Side::Before) => self.setup.push(applied),
            Role::Send { .. } | Role::Flush(_) | Role::Hooks(Side::After) => {
                self.lists += 1;
                self.push_late(applied);
            }
            Role::Close => self.close = Some(applied),
            Role::Macros(side) => {
                let Args::Macros(list) = std::mem::replace(&mut applied.args, Args::Nothing) else {
                    return Ok(());
                };
                self.lists += 1;
                for nested in list {
                    self.place_nested(nested, side)?;
                }
            }
        }
        Ok(())
    }

    /// Sorts an entry of a list (`prologue_macros`, `epilogue_macros`). In `prologue_macros`, guards, reads,
    /// `body_stream` and `max_body` keep their own phase. In `epilogue_macros` after a read macro, `closed` keeps its
    /// own phase. Other entries run in the order of the list; a guard or condition in `epilogue_macros` ends the list if
    /// it refuses. Refuses an entry of `epilogue_macros` that must act before the body.
    fn place_nested(&mut self, nested: Applied, side: Side) -> Result<(), Error> {
        match (nested.row.role, side) {
            (Role::Guard(_), Side::Before) => self.guards.push(nested),
            (Role::Read(_), Side::Before) => return self.place_read(nested),
            (Role::Body(_), Side::Before) => return self.place(nested),
            (Role::Open(_), Side::Before) => {
                self.refuse_second_handle(&nested)?;
                self.setup.push(nested);
            }
            (Role::Body(_) | Role::Open(_), Side::After) => {
                let name = &nested.name;
                return Err(nested.error(format!(
                    "`{name}` acts before the body runs, so it cannot stand after it; write it as an attribute"
                )));
            }
            (_, Side::Before) => self.setup.push(nested),
            (Role::Read(_), Side::After) => {
                let name = &nested.name;
                return Err(nested.error(format!(
                    "`{name}` decides whether the body runs, so it cannot stand after it; write it as an attribute"
                )));
            }
            (Role::Close, Side::After) if self.read.is_some() => self.close = Some(nested),
            (_, Side::After) => self.push_late(nested),
        }
        Ok(())
    }

    /// Adds a macro that runs after the body to the current list.
    fn push_late(&mut self, applied: Applied) {
        let list = self.lists;
        self.epilogue.push(Late { applied, list });
    }

    /// Refuses a second macro that opens a handle. A connection is either one WebSocket or one event stream, so it has
    /// one handle.
    fn refuse_second_handle(&self, applied: &Applied) -> Result<(), Error> {
        match self.opener() {
            Some(first) if first.row.name == applied.row.name => {
                Err(applied.error(format!("`#[{}]` stands here already; remove one of the two", first.name)))
            }
            Some(first) => Err(applied.error(format!(
                "`#[{}]` takes this connection already; keep one of the two, or write a handler for each",
                first.name
            ))),
            None => Ok(()),
        }
    }

    /// Returns the macro that opens a handle, as an attribute or as an entry of a list. Returns `None` if no macro does
    /// so.
    pub(crate) fn opener(&self) -> Option<&Applied> {
        let is_open = |applied: &&Applied| matches!(applied.row.role, Role::Open(_));
        self.open
            .as_ref()
            .or_else(|| self.setup.iter().find(is_open))
    }

    /// Returns whether a macro opens a handle of the kind `handle`.
    pub(crate) fn opens(&self, handle: Handle) -> bool {
        self.opener()
            .is_some_and(|applied| applied.row.role == Role::Open(handle))
    }

    fn place_read(&mut self, applied: Applied) -> Result<(), Error> {
        match &self.read {
            Some(first) => Err(applied.error(format!(
                "this function already reads with `#[{}]`; keep one of the two",
                first.name
            ))),
            None => {
                // If `epilogue_macros` lists `closed` and stands above the read macro, `closed` is in the epilogue now.
                // It moves out of the epilogue, because it must run once, after the loop.
                if let Some(at) = self
                    .epilogue
                    .iter()
                    .position(|late| late.applied.row.role == Role::Close)
                {
                    self.close = Some(self.epilogue.remove(at).applied);
                }
                self.read = Some(applied);
                Ok(())
            }
        }
    }

    /// Returns whether the expansion adds code before or after the body. Ignores the code of guards.
    pub(crate) fn has_code_around_body(&self) -> bool {
        self.read.is_some()
            || self.close.is_some()
            || self.open.is_some()
            || !self.epilogue.is_empty()
            || [
                &self.declarations,
                &self.extractors,
                &self.conditions,
                &self.setup,
            ]
            .into_iter()
            .any(|phase| !phase.is_empty())
    }

    /// Returns the macro that upgrades the connection right after the guards. Returns `None` if no macro does so.
    pub(crate) fn early_upgrade(&self) -> Option<&Applied> {
        if self.message_read().is_none() && self.opens(Handle::WebSocket) {
            // The macro `websocket` upgrades the connection later, after extractors and conditions. Until then, these
            // can refuse the request with an HTTP answer.
            return None;
        }
        self.websocket_guard().or_else(|| self.message_read())
    }

    /// Returns the macro that makes the connection a WebSocket, in any phase.
    pub(crate) fn websocket_macro(&self) -> Option<&Applied> {
        let opens = self.opener().filter(|_| self.opens(Handle::WebSocket));
        opens
            .or_else(|| self.websocket_guard())
            .or_else(|| self.message_read())
    }

    /// Returns the guard `is_ws_upgrade_type` if the function has one.
    pub(crate) fn websocket_guard(&self) -> Option<&Applied> {
        self.guards
            .iter()
            .find(|guard| guard.row.role == Role::Guard(Check::Upgrade("websocket")))
    }

    /// Returns the macro `try_get_websocket_request` if the function has one.
    pub(crate) fn message_read(&self) -> Option<&Applied> {
        self.read
            .as_ref()
            .filter(|read| read.row.role == Role::Read("read_websocket"))
    }
}
