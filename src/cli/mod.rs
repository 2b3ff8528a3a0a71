//! The command line: arguments, the call of a verb, its output and the exit code.

mod api_client;
mod args;
mod campaigns;
mod error;
mod exit;
mod explain;
mod keygen;
mod keys;
mod live;
mod logs;
mod mesh;
mod mesh_folder;
mod mesh_run;
mod mesh_up;
mod network;
mod node;
mod output;
mod post;
mod rejection;
mod rejections;
mod report;
mod report_folder;
mod scenarios;
mod screen;
mod show;
mod signals;
mod signer;
mod sim;
mod sim_args;
mod stderr;
mod trace;

pub use exit::main;
