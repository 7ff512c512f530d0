//! The origins: what answers an exchange.

pub(crate) mod admin;
pub(crate) mod app;
pub(crate) mod app_failure;
pub(crate) mod challenge;
pub(crate) mod files;
pub(crate) mod fixed;
pub(crate) mod health;
mod html;
mod path_rest;
pub(crate) mod redirect;
pub(crate) mod upstream;
pub(crate) mod welcome;
