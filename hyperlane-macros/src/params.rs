//! Finds out which parameter of a function is its `Stream`, and which one is its `Context`.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Error, FnArg, Pat, PatType, Result, Signature, Type, TypeReference};

use crate::model::Applied;
use crate::tokens::local;

/// The parameter of a function that is its stream or its context.
pub(crate) struct Param {
    /// The variable of the parameter. An error if the user's pattern is not a variable, for example a tuple pattern.
    name: Result<Ident>,
    pub(crate) mutable: bool,
    ty: TokenStream,
}

/// The parameters of a function: the stream, the context, and all others.
pub(crate) struct Params {
    pub(crate) stream: Option<Param>,
    pub(crate) ctx: Option<Param>,
    /// The error about a `&mut` parameter that could be either the stream or the context, or that is a second stream or
    /// context.
    unclear: Option<Error>,
    /// The types of a stream (first) and a context (second) that the function takes by value. Macros need references,
    /// so they refuse such parameters.
    by_value: [Option<TokenStream>; 2],
    /// All parameters except `self`, the stream and the context.
    pub(crate) others: Vec<PatType>,
}

/// Selects the stream or the context.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Stream,
    Ctx,
}

impl Part {
    const fn type_name(self) -> &'static str {
        match self {
            Self::Stream => "Stream",
            Self::Ctx => "Context",
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Ctx => "context",
        }
    }

    const fn duplicate_message(self) -> &'static str {
        match self {
            Self::Stream => "this is a second stream; write `ctx: &mut Context` for one of the two",
            Self::Ctx => "this is a second context; write `stream: &mut Stream` for one of the two",
        }
    }

    const fn variable(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Ctx => "ctx",
        }
    }
}

impl Params {
    /// Finds the stream and the context of a function. A reference is recognized by the last segment of its type's
    /// path, `Stream` or `Context`. If no type has such a name and there are exactly two `&mut` parameters, the first
    /// is the stream, and the second is the context. If only the stream or only the context has its type name, and
    /// there is exactly one other `&mut` parameter, this parameter is the missing one. A second parameter of the same
    /// type name is an error instead.
    ///
    /// If the pattern of the stream or of the context is `_`, the function replaces it by a variable.
    pub(crate) fn find(signature: &mut Signature) -> Self {
        let candidates = Candidates::of(signature);
        let (stream, ctx, unclear) = candidates.choose(signature);
        let mut params = Self {
            stream: None,
            ctx: None,
            unclear,
            by_value: candidates.by_value,
            others: Vec::new(),
        };
        for (index, argument) in signature.inputs.iter_mut().enumerate() {
            let FnArg::Typed(argument) = argument else {
                continue;
            };
            if Some(index) == stream {
                params.stream = Some(Param::of(&mut argument.pat, &argument.ty, Part::Stream));
            } else if Some(index) == ctx {
                params.ctx = Some(Param::of(&mut argument.pat, &argument.ty, Part::Ctx));
            } else {
                params.others.push(argument.clone());
            }
        }
        params
    }

    /// Returns the variable of `part` for the macro `applied`. The error says which parameter is missing or must
    /// change.
    pub(crate) fn require(&self, part: Part, mutable: bool, applied: &Applied) -> Result<&Ident> {
        let found = match part {
            Part::Stream => &self.stream,
            Part::Ctx => &self.ctx,
        };
        let (macro_name, what, ty, name) = (
            &applied.name,
            part.noun(),
            part.type_name(),
            part.variable(),
        );
        let [stream_value, ctx_value] = &self.by_value;
        let by_value = match part {
            Part::Stream => stream_value,
            Part::Ctx => ctx_value,
        };
        let kind = if mutable { "&mut " } else { "&" };
        match found {
            Some(param) if mutable && !param.mutable => Err(Error::new_spanned(
                &param.ty,
                format!(
                    "`#[{macro_name}]` changes the {what}, so this parameter must be `&mut {ty}`"
                ),
            )),
            Some(param) => param.name.as_ref().map_err(Clone::clone),
            None if by_value.is_some() => Err(Error::new_spanned(
                by_value,
                format!("`#[{macro_name}]` needs the {what} by reference; write `{kind}{ty}`"),
            )),
            None => Err(self.unclear().unwrap_or_else(|| {
                applied.error(format!(
                    "`#[{macro_name}]` needs the {what}; add the parameter `{name}: {kind}{ty}`"
                ))
            })),
        }
    }

    /// Returns the stream and the context under other names. The function `rename` returns the new name of a variable, or
    /// `None` to keep the name.
    pub(crate) fn renamed(&self, rename: &impl Fn(&Ident) -> Option<Ident>) -> Self {
        let renamed = |param: &Option<Param>| {
            param.as_ref().map(|param| Param {
                name: param.name.clone().map(|name| rename(&name).unwrap_or(name)),
                mutable: param.mutable,
                ty: param.ty.clone(),
            })
        };
        Self {
            stream: renamed(&self.stream),
            ctx: renamed(&self.ctx),
            unclear: self.unclear.clone(),
            by_value: self.by_value.clone(),
            others: self.others.clone(),
        }
    }

    /// Returns the error about a `&mut` parameter that could be either the stream or the context, or that is a second
    /// stream or context. Returns `None` if there is no such parameter.
    pub(crate) fn unclear(&self) -> Option<Error> {
        self.unclear.clone()
    }

    /// Returns whether the parameter `argument` is the stream or context that `part` names.
    pub(crate) fn is(&self, part: Part, argument: &PatType) -> bool {
        let param = match part {
            Part::Stream => &self.stream,
            Part::Ctx => &self.ctx,
        };
        let name = param.as_ref().and_then(Param::name);
        matches!((argument.pat.as_ref(), name), (Pat::Ident(pat), Some(name)) if pat.ident == *name)
    }

    /// Returns the variables of the stream and the context if they are `&mut` references.
    pub(crate) fn mutable_names(&self) -> impl Iterator<Item = &Ident> {
        let both = [&self.stream, &self.ctx];
        both.into_iter()
            .flatten()
            .filter(|param| param.mutable)
            .filter_map(|param| param.name.as_ref().ok())
    }
}

impl Param {
    /// Builds the parameter from its pattern and type. Replaces the pattern `_` by a variable.
    fn of(pat: &mut Box<Pat>, ty: &Type, part: Part) -> Self {
        let mutable = reference(ty).is_some_and(|reference| reference.mutability.is_some());
        if let Pat::Wild(wild) = pat.as_ref() {
            let name = local(part.variable(), wild.span());
            **pat = Pat::Ident(syn::PatIdent {
                attrs: Vec::new(),
                by_ref: None,
                mutability: None,
                ident: name,
                subpat: None,
            });
        }
        let name = match pat.as_ref() {
            Pat::Ident(pat) => Ok(pat.ident.clone()),
            other => Err(Error::new(
                other.span(),
                format!("give this parameter a name, as in `{}`", part.variable()),
            )),
        };
        Self {
            name,
            mutable,
            ty: ty.to_token_stream(),
        }
    }

    /// Builds a `&mut` parameter that the expansion adds to the signature.
    pub(crate) fn added(name: Ident) -> Self {
        Self {
            ty: name.to_token_stream(),
            name: Ok(name),
            mutable: true,
        }
    }

    /// Returns the variable of the parameter. Returns `None` if the pattern is not a variable.
    pub(crate) fn name(&self) -> Option<&Ident> {
        self.name.as_ref().ok()
    }
}

/// The parameters that may be the stream or the context. Numbers are indices in the signature.
struct Candidates {
    /// The references whose type is named `Stream` (first) and `Context` (second).
    named: [Option<usize>; 2],
    /// The other `&mut` parameters, with their types.
    unnamed: Vec<(usize, TokenStream)>,
    by_value: [Option<TokenStream>; 2],
}

impl Candidates {
    fn of(signature: &Signature) -> Self {
        let mut found = Self {
            named: [None, None],
            unnamed: Vec::new(),
            by_value: [None, None],
        };
        for (index, argument) in signature.inputs.iter().enumerate() {
            let FnArg::Typed(argument) = argument else {
                continue;
            };
            let Some(reference) = reference(&argument.ty) else {
                let [stream, ctx] = &mut found.by_value;
                match last_segment(&argument.ty) {
                    Some(ident) if ident == "Stream" => {
                        *stream = Some(argument.ty.to_token_stream());
                    }
                    Some(ident) if ident == "Context" => *ctx = Some(argument.ty.to_token_stream()),
                    _ => {}
                }
                continue;
            };
            let [stream, ctx] = &mut found.named;
            match last_segment(&reference.elem) {
                Some(ident) if ident == "Stream" && stream.is_none() => *stream = Some(index),
                Some(ident) if ident == "Context" && ctx.is_none() => *ctx = Some(index),
                _ if reference.mutability.is_some() => {
                    found.unnamed.push((index, argument.ty.to_token_stream()));
                }
                _ => {}
            }
        }
        found
    }

    /// Returns the index of the stream, the index of the context, and an error. The error reports a second stream or
    /// context, or a `&mut` parameter that could be either of the two.
    fn choose(&self, signature: &Signature) -> (Option<usize>, Option<usize>, Option<Error>) {
        match (self.named, self.unnamed.as_slice()) {
            ([None, None], [(first, _), (second, _)]) => (Some(*first), Some(*second), None),
            ([Some(stream), None], [(ctx, _)]) => {
                let unclear = duplicate(signature, *ctx, Part::Stream);
                let ctx = Some(*ctx).filter(|_| unclear.is_none());
                (Some(stream), ctx, unclear)
            }
            ([None, Some(ctx)], [(stream, _)]) => {
                let unclear = duplicate(signature, *stream, Part::Ctx);
                let stream = Some(*stream).filter(|_| unclear.is_none());
                (stream, Some(ctx), unclear)
            }
            ([Some(stream), Some(ctx)], _) => (Some(stream), Some(ctx), None),
            ([stream, ctx], unnamed) => {
                let message = "it is unclear whether this is the stream or the context; name its type `Stream` or `Context`";
                let unclear = unnamed
                    .first()
                    .map(|(_, ty)| Error::new_spanned(ty, message));
                (stream, ctx, unclear)
            }
        }
    }
}

/// Returns an error if the type of the parameter at `index` is also named `Stream` or `Context`, as `part` says. The
/// caller has already found another parameter for `part`.
fn duplicate(signature: &Signature, index: usize, part: Part) -> Option<Error> {
    let FnArg::Typed(argument) = signature.inputs.get(index)? else {
        return None;
    };
    let is_named = reference(&argument.ty)
        .and_then(|reference| last_segment(&reference.elem))
        .is_some_and(|ident| ident == part.type_name());
    is_named.then(|| Error::new_spanned(&argument.ty, part.duplicate_message()))
}

/// Returns the reference if the type is one. Looks through parentheses and invisible groups.
fn reference(ty: &Type) -> Option<&TypeReference> {
    match ty {
        Type::Reference(reference) => Some(reference),
        Type::Paren(inner) => reference(&inner.elem),
        Type::Group(inner) => reference(&inner.elem),
        _ => None,
    }
}

/// Returns the last segment of a type's path. Returns `None` if the type is not a path.
pub(crate) fn last_segment(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.ident),
        Type::Paren(inner) => last_segment(&inner.elem),
        Type::Group(inner) => last_segment(&inner.elem),
        _ => None,
    }
}
