//! Sorts the macros on a function into the phases they run in, whatever the order they were written in.

use syn::Error;

use crate::model::{Applied, Args, BodyRule, Check, Handle, Role, Side};

/// The macros of one function; within a phase, in source order.
#[derive(Default)]
pub(crate) struct Phases {
    pub(crate) registers: Vec<Applied>,
    pub(crate) declarations: Vec<Applied>,
    pub(crate) imports: Vec<Applied>,
    pub(crate) guards: Vec<Applied>,
    pub(crate) read: Option<Applied>,
    pub(crate) extractors: Vec<Applied>,
    /// Limits of the body, which dispatch sees.
    pub(crate) limits: Vec<Applied>,
    pub(crate) conditions: Vec<Applied>,
    /// Setters, hooks and lists before the body.
    pub(crate) setup: Vec<Applied>,
    /// Opens a WebSocket or an event stream, after all that could refuse and with the headers set.
    pub(crate) open: Option<Applied>,
    /// What runs after the body: once, or after each message.
    pub(crate) epilogue: Vec<Applied>,
    /// Closing comes last and once, so that nothing is sent into a closed connection.
    pub(crate) close: Option<Applied>,
}

impl Phases {
    /// Sorts `applied`; what cannot be placed goes to `errors`.
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
            Role::SetStatus | Role::SetHeader | Role::Set(_) | Role::Hooks(Side::Before) => {
                self.setup.push(applied)
            }
            Role::Send { .. } | Role::Flush(_) | Role::Hooks(Side::After) => {
                self.epilogue.push(applied)
            }
            Role::Close => self.close = Some(applied),
            Role::Macros(side) => {
                let Args::Macros(list) = std::mem::replace(&mut applied.args, Args::Nothing) else {
                    return Ok(());
                };
                for nested in list {
                    self.place_nested(nested, side)?;
                }
            }
        }
        Ok(())
    }

    /// Places an entry of a list: guards and reads keep their phase, the rest runs just where it is listed.
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
                    "`{name}` is about what happens before the body runs; write it as an attribute"
                )));
            }
            (_, Side::Before) => self.setup.push(nested),
            (Role::Guard(_) | Role::Read(_) | Role::Condition { .. }, Side::After) => {
                let name = &nested.name;
                return Err(nested.error(format!(
                    "`{name}` decides whether the body runs, so it cannot stand after it; write it as an attribute"
                )));
            }
            (Role::Close, Side::After) if self.read.is_some() => self.close = Some(nested),
            (_, Side::After) => self.epilogue.push(nested),
        }
        Ok(())
    }

    /// Refuses a second handle: a connection becomes one thing.
    fn refuse_second_handle(&self, applied: &Applied) -> Result<(), Error> {
        match self.opener() {
            Some(first) if first.row.name == applied.row.name => {
                Err(applied.error(format!("`#[{}]` stands here already", first.name)))
            }
            Some(first) => Err(applied.error(format!(
                "`#[{}]` makes this connection something else already; keep one of the two, or write a handler for each",
                first.name
            ))),
            None => Ok(()),
        }
    }

    /// Returns the macro that opens a handle.
    pub(crate) fn opener(&self) -> Option<&Applied> {
        let is_open = |applied: &&Applied| matches!(applied.row.role, Role::Open(_));
        self.open
            .as_ref()
            .or_else(|| self.setup.iter().find(is_open))
    }

    /// Whether this handle is opened.
    pub(crate) fn opens(&self, handle: Handle) -> bool {
        self.opener()
            .is_some_and(|applied| applied.row.role == Role::Open(handle))
    }

    fn place_read(&mut self, applied: Applied) -> Result<(), Error> {
        match &self.read {
            Some(first) => Err(applied.error(format!(
                "this function already reads by `{}`; keep one of the two",
                first.name
            ))),
            None => {
                // A close listed after the body before the read was seen runs once, too.
                if let Some(at) = self
                    .epilogue
                    .iter()
                    .position(|applied| applied.row.role == Role::Close)
                {
                    self.close = Some(self.epilogue.remove(at));
                }
                self.read = Some(applied);
                Ok(())
            }
        }
    }

    /// Whether something runs between the guards and the end of the function besides the body.
    pub(crate) fn has_code_around_body(&self) -> bool {
        self.read.is_some()
            || self.close.is_some()
            || self.open.is_some()
            || [
                &self.declarations,
                &self.extractors,
                &self.conditions,
                &self.setup,
                &self.epilogue,
            ]
            .into_iter()
            .any(|phase| !phase.is_empty())
    }

    /// Returns the macro that makes a handler speak WebSocket right after its guards, if one does.
    pub(crate) fn early_upgrade(&self) -> Option<&Applied> {
        if self.message_read().is_none() && self.opens(Handle::WebSocket) {
            // What could refuse runs first, while there is an answer to give.
            return None;
        }
        self.websocket_guard().or_else(|| self.message_read())
    }

    /// Returns the macro by which a handler speaks WebSocket, at whatever time.
    pub(crate) fn websocket_macro(&self) -> Option<&Applied> {
        let opens = self.opener().filter(|_| self.opens(Handle::WebSocket));
        opens
            .or_else(|| self.websocket_guard())
            .or_else(|| self.message_read())
    }

    /// Returns the guard that wants a WebSocket.
    pub(crate) fn websocket_guard(&self) -> Option<&Applied> {
        self.guards
            .iter()
            .find(|guard| guard.row.role == Role::Guard(Check::Upgrade("websocket")))
    }

    /// Returns the macro that reads messages.
    pub(crate) fn message_read(&self) -> Option<&Applied> {
        self.read
            .as_ref()
            .filter(|read| read.row.role == Role::Read("read_websocket"))
    }
}
