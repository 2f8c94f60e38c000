//! The command line: what there is, how it is told, and which exit code it ends with
//! (0 done, 1 failed, 2 asked wrongly).

use std::{
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use event_schemas::{Millis, Topic};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    client::{Client, ClientError},
    commands::{dead_letters, demo, doctor, lake, rebuild, simulate, sql, upload},
    config::{Config, Flags, Role},
    serve,
};

/// A self-hosted video platform whose every figure can be recounted with SQL.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// The configuration file [default: millrace.toml, if there is one]
    #[arg(long, global = true, env = "MILLRACE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the server keeps everything
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Any configuration key, such as uploads.max_size=1GiB; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Args)]
struct Server {
    /// The server's address [default: from the configuration]
    #[arg(long, env = "MILLRACE_URL", global = true)]
    url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server
    Serve {
        /// The address to listen on
        #[arg(long)]
        listen: Option<SocketAddr>,
        /// What this process runs [default: everything]
        #[arg(long, value_delimiter = ',')]
        roles: Vec<Role>,
        /// Fill an empty instance with the clips of this folder (see scripts/demo-clips)
        #[arg(long, value_name = "CLIPS")]
        demo: Option<PathBuf>,
    },
    /// Uploads a video; an interrupted connection is resumed
    Upload {
        /// The file
        file: PathBuf,
        #[command(flatten)]
        server: Server,
        /// An API token (see the account page)
        #[arg(long, env = "MILLRACE_TOKEN", hide_env_values = true)]
        token: String,
        /// The video's title [default: the file's name]
        #[arg(long)]
        title: Option<String>,
        /// The video's description
        #[arg(long, default_value = "")]
        description: String,
        /// Tags, separated by commas
        #[arg(long, value_delimiter = ',')]
        tags: Vec<String>,
        /// Who may see it
        #[arg(long, value_enum, default_value = "private")]
        visibility: VisibilityArg,
    },
    /// Asks the lake; without a query, interactively
    Sql {
        /// One query
        query: Option<String>,
        /// How the answer is written
        #[arg(long, value_enum, default_value = "table")]
        format: sql::Format,
    },
    /// Synthetic viewers: they watch, seek, stall, rewatch and leave, by a seed
    Simulate {
        #[command(flatten)]
        server: Server,
        /// How many people
        #[arg(long, default_value_t = 20)]
        viewers: u32,
        /// Playbacks of each, on average
        #[arg(long, default_value_t = 3.0)]
        sessions: f64,
        /// Decides everything
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Sessions begin within this many hours before now (at most 167)
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i64).range(0..=167))]
        span_hours: i64,
        /// Play now, in real time, instead
        #[arg(long)]
        real_time: bool,
        /// Requests under way at once
        #[arg(long, default_value_t = 8)]
        at_once: usize,
        /// Only these videos; may be repeated
        #[arg(long = "video", value_name = "ID")]
        videos: Vec<String>,
    },
    /// Fills an empty instance with demo content
    Demo {
        #[command(flatten)]
        server: Server,
        /// The folder of clips that scripts/demo-clips made
        #[arg(long)]
        clips: PathBuf,
        /// How many simulated viewers
        #[arg(long, default_value_t = 400)]
        viewers: u32,
        /// Decides who watches what
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Records that could not be processed
    DeadLetters {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        action: Option<DeadLettersAction>,
    },
    /// Looks at whether this machine and configuration can run the server
    Doctor,
    /// Asks the server whether it is alive, for a container's health check
    Healthcheck {
        #[command(flatten)]
        server: Server,
    },
    /// The lake
    Lake {
        #[command(flatten)]
        server: Server,
        #[command(subcommand)]
        action: LakeAction,
    },
    /// Makes anew what can be made from the lake and the catalog
    Rebuild {
        #[command(subcommand)]
        what: RebuildAction,
    },
}

#[derive(Debug, Subcommand)]
enum RebuildAction {
    /// The serving store (counters, figures, rankings) from the lake
    Serving,
}

#[derive(Debug, Subcommand)]
enum DeadLettersAction {
    /// Lists them
    List {
        /// Only of this topic
        topic: Option<Topic>,
    },
    /// Puts one back into its topic, to be processed once more
    Replay {
        /// The topic
        topic: Topic,
        /// Its offset among the dead letters, as listed
        offset: u64,
    },
}

#[derive(Debug, Subcommand)]
enum LakeAction {
    /// Waits until the lake holds all that was acknowledged
    Flush,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum VisibilityArg {
    Public,
    Unlisted,
    Private,
}

/// A command failed; the message is for people.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs as a sandboxed child if this process was started as one.
pub fn child() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != "transcode-child" {
        return None;
    }
    Some(transcode_stage::child_main().unwrap_or_else(|error| {
        eprintln!("{}", access::problem::chain(&error));
        ExitCode::FAILURE
    }))
}

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let flags = Flags {
        file: cli.common.config.clone(),
        data_dir: cli.common.data_dir.clone(),
        set: cli.common.set.clone(),
        ..Flags::default()
    };
    let flags = match &cli.command {
        Command::Serve { listen, roles, .. } => Flags { listen: *listen, roles: roles.clone(), ..flags },
        _ => flags,
    };
    let config = match Config::load(&flags) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("can't start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(cli.command, config)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{}", access::problem::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn client(server: &Server, config: &Config, token: Option<String>) -> Result<Client, ClientError> {
    Client::new(&server.url.clone().unwrap_or_else(|| format!("http://{}", config.reachable_listen())), token)
}

fn operator(server: &Server, config: &Config) -> Result<Client, ClientError> {
    let url = server.url.clone().unwrap_or_else(|| format!("http://{}", config.reachable_listen()));
    Client::operator(&url, &config.data_dir)
}

fn out(text: &str) -> Result<(), Failure> {
    // A closed pipe (`| head`) is the reader's choice, not a failure.
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

async fn dispatch(command: Command, config: Config) -> Result<ExitCode, Failure> {
    match command {
        Command::Serve { demo, .. } => return serve::serve(config, demo).await,
        Command::Upload { file, server, token, title, description, tags, visibility } => {
            let visibility = match visibility {
                VisibilityArg::Public => "public",
                VisibilityArg::Unlisted => "unlisted",
                VisibilityArg::Private => "private",
            };
            let about = upload::About { title, description, tags, visibility: visibility.to_owned() };
            let client = client(&server, &config, Some(token))?;
            let uploaded = upload::upload(&client, &file, &about, false).await?;
            out(&format!("{}/watch/{}\n", client.base(), uploaded.video_id))?;
        }
        Command::Sql { query, format } => return sql::run(&config, query, format).await,
        Command::Simulate { server, viewers, sessions, seed, span_hours, real_time, at_once, videos } => {
            let plan = simulate::Plan {
                viewers,
                sessions_per_viewer: sessions,
                seed,
                span: Millis::from_secs(span_hours * 3600),
                real_time,
                at_once,
                videos,
            };
            let bar = if std::io::stderr().is_terminal() {
                ProgressBar::new(u64::from(viewers))
            } else {
                ProgressBar::hidden()
            };
            if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} viewers {eta}") {
                bar.set_style(style);
            }
            let outcome = simulate::simulate(&client(&server, &config, None)?, &plan, &|done| bar.inc(done)).await?;
            bar.finish_and_clear();
            out(&format!("{}\n", serde_json::to_string(&outcome)?))?;
        }
        Command::Demo { server, clips, viewers, seed } => {
            let plan = demo::DemoPlan { clips, data_dir: config.data_dir.clone(), viewers, seed };
            let done = demo::demo(&client(&server, &config, None)?, &plan, &|what| eprintln!("demo: {what}")).await?;
            out(&format!("{}\nlogin    {}\npassword {}\n", done.summary, done.login, done.password))?;
        }
        Command::DeadLetters { server, action } => {
            let client = operator(&server, &config)?;
            match action.unwrap_or(DeadLettersAction::List { topic: None }) {
                DeadLettersAction::List { topic } => {
                    let list = dead_letters::list(&client, topic).await?;
                    for letter in &list.items {
                        out(&format!(
                            "{}\t{}\t{}\tfrom {}/{}\t{} tries by {}\t{}\n",
                            letter.topic,
                            letter.offset,
                            letter.at,
                            letter.source_partition,
                            letter.source_offset,
                            letter.attempts,
                            letter.stage,
                            letter.reason
                        ))?;
                    }
                    if list.items.is_empty() {
                        eprintln!("no dead letters");
                    }
                }
                DeadLettersAction::Replay { topic, offset } => {
                    dead_letters::replay(&client, topic, offset).await?;
                    out(&format!("the record of dead letter {offset} is in {topic} again\n"))?;
                }
            }
        }
        Command::Doctor => {
            let findings = doctor::examine(&config).await;
            for finding in &findings {
                out(&format!("{finding}\n"))?;
            }
            let bad = findings.iter().any(|finding| finding.verdict == doctor::Verdict::Bad);
            return Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
        Command::Healthcheck { server } => {
            let url = server.url.unwrap_or_else(|| format!("http://{}", config.reachable_listen()));
            Client::new(&url, None)?.health().await?;
        }
        Command::Lake { server, action: LakeAction::Flush } => {
            let flushed = lake::flush(&operator(&server, &config)?).await?;
            out(&format!("{}\n", serde_json::to_string(&flushed)?))?;
        }
        Command::Rebuild { what: RebuildAction::Serving } => {
            let rebuilt = rebuild::serving(&config).await?;
            out(&format!("{}\n", serde_json::to_string(&rebuilt)?))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
