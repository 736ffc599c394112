//! Queries and forms as arguments of handlers.

use std::ops::Deref;

use serde::de::DeserializeOwned;

use super::{
    FromContext,
    declare::{from_context, wrappers},
};
use crate::{
    BodyMode, Context,
    error::{Error, RequestError},
};

wrappers! {
    /// The query, deserialized as `T`. A repeated name becomes a list. The server answers an invalid value with 400 and
    /// names the parameter in the response.
    ///
    /// ```
    /// use hyperlane_core::Query;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Page {
    ///     page: u32,
    /// }
    ///
    /// // #[get("/posts")]
    /// async fn posts(Query(Page { page }): Query<Page>) -> String {
    ///     format!("page {page}")
    /// }
    /// ```
    Query;
    /// The body, a URL-encoded HTML form, deserialized as `T`. The server answers an invalid value with 400 and names
    /// the field in the response. It answers a body of another media type with 415.
    ///
    /// ```
    /// use hyperlane_core::Form;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Login {
    ///     name: String,
    /// }
    ///
    /// // #[post("/login")]
    /// async fn login(Form(login): Form<Login>) -> String {
    ///     format!("hello {}", login.name)
    /// }
    /// ```
    Form;
}

from_context! {
    impl [T: DeserializeOwned] Query<T> => |ctx| ctx.query().map(Self);
    impl [T: DeserializeOwned] Form<T> where BodyMode::Whole => |ctx| ctx.form().map(Self);
}
