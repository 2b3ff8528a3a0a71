//! The command line: arguments, the call of a verb, its output and the exit code.

mod api_client;
mod args;
mod campaigns;
mod error;
mod escape;
mod exit;
mod explain;
mod keygen;
mod keys;
mod live;
mod log_lines;
mod logs;
mod mesh;
mod mesh_folder;
mod mesh_run;
mod mesh_up;
mod network;
mod node;
mod notes;
mod output;
mod pages;
mod post;
mod recorded;
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
mod trace;

pub use exit::main;
