#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers for people, who read the first digits of positive ones"
)]

mod quantity;
mod status;
mod view;

pub use status::{
    App, Certificate, Connections, Latency, Listener, NameState, NamedCertificate, Queue, Request, Requests,
    Server, State, Status, Worker,
};
pub use view::{Look, View};
