//! The origins: what answers an exchange.

pub(crate) mod admin;
pub(crate) mod app;
pub(crate) mod health;
pub(crate) mod redirect;
pub(crate) mod welcome;
