//! The API of a real node, tested over sockets.

mod end_to_end;
mod lab;
mod stored;
