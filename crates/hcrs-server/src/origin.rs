//! What answers an exchange.

pub(crate) mod app;
pub(crate) mod welcome;
