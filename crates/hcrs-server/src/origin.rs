//! The origins: what answers an exchange.

pub(crate) mod app;
pub(crate) mod redirect;
pub(crate) mod welcome;
