//! `millrace sql`: one query, or a prompt with history. Reads the lake as it lies in storage,
//! beside a running server or without one.

use std::{io::IsTerminal as _, process::ExitCode, time::Instant};

use lake_sql::{QueryResult, SqlEngine, SqlError, SqlOptions};
use rustyline::{DefaultEditor, error::ReadlineError};

use crate::{config::Config, serve::bootstrap};

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table with borders.
    Table,
    /// Comma-separated values with a header.
    Csv,
    /// One JSON array of objects.
    Json,
    /// A JSON object a line.
    JsonLines,
}

impl From<Format> for lake_sql::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Table => Self::Table,
            Format::Csv => Self::Csv,
            Format::Json => Self::Json,
            Format::JsonLines => Self::JsonLines,
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

const HELP: &str = "\
A query ends with `;` and may span lines.
  \\d         the tables and views
  \\d NAME    the columns of one
  \\q         leave (or Ctrl-D)
";

/// The most rows the prompt shows; a query given on the command line shows all.
const PROMPT_ROWS: usize = 1000;

fn write(result: &QueryResult, format: Format) -> Result<(), Failure> {
    match result.write(format.into(), std::io::stdout().lock()) {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        other => Ok(other?),
    }
}

fn is_broken_pipe(error: &SqlError) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = source {
        if inner.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
            || inner.to_string().contains("Broken pipe")
        {
            return true;
        }
        source = inner.source();
    }
    false
}

async fn engine(config: &Config, max_rows: Option<usize>) -> Result<SqlEngine, Failure> {
    let options = SqlOptions {
        memory: config.lake.query_memory,
        timeout: Some(config.lake.query_ms),
        max_rows,
        parallelism: None,
    };
    Ok(SqlEngine::open(bootstrap::lake_for_reading(config).await?, options)?)
}

/// Runs a query, or the prompt.
///
/// # Errors
/// The query is wrong or the lake can't be read.
pub async fn run(config: &Config, query: Option<String>, format: Format) -> Result<ExitCode, Failure> {
    if let Some(query) = query {
        write(&engine(config, None).await?.query(&query).await?, format)?;
        return Ok(ExitCode::SUCCESS);
    }
    let engine = engine(config, Some(PROMPT_ROWS)).await?;
    if !std::io::stdin().is_terminal() {
        let text = std::io::read_to_string(std::io::stdin())?;
        for statement in text.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
            write(&engine.query(statement).await?, format)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    prompt(config, &engine, format).await
}

fn command(line: &str) -> Option<String> {
    let mut words = line.trim().trim_end_matches(';').split_whitespace();
    if words.next()? != "\\d" {
        return None;
    }
    Some(match words.next() {
        None => "select table_name, table_type from information_schema.tables where table_schema = 'public' order by 1"
            .to_owned(),
        Some(name) => format!(
            "select column_name, data_type, is_nullable from information_schema.columns where table_name = '{}' order by ordinal_position",
            name.replace('\'', "''")
        ),
    })
}

async fn prompt(config: &Config, engine: &SqlEngine, format: Format) -> Result<ExitCode, Failure> {
    let mut editor = DefaultEditor::new()?;
    let history = config.data_dir.join("sql.history");
    // Absent at first.
    let _ = editor.load_history(&history);
    println!("Millrace SQL over {}. \\? for help.", config.data_dir.join("lake").display());
    let mut statement = String::new();
    loop {
        let prompt = if statement.is_empty() { "millrace> " } else { "       -> " };
        let line = match editor.readline(prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                statement.clear();
                continue;
            }
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        };
        // Words are commands only where a statement could begin; `\` begins none anywhere.
        match line.trim() {
            "" if statement.is_empty() => continue,
            "quit" | "exit" if statement.is_empty() => break,
            "\\q" => break,
            "help" if statement.is_empty() => {
                print!("{HELP}");
                continue;
            }
            "\\?" => {
                print!("{HELP}");
                continue;
            }
            _ => {}
        }
        let (entry, query) = match command(&line) {
            Some(query) => (line.trim().to_owned(), query),
            None => {
                statement.push_str(&line);
                statement.push('\n');
                if !line.trim_end().ends_with(';') {
                    continue;
                }
                let whole = std::mem::take(&mut statement);
                // One line, so that it can be called back as a whole.
                let entry = whole.lines().map(str::trim).collect::<Vec<_>>().join(" ");
                (entry, whole.trim().trim_end_matches(';').to_owned())
            }
        };
        editor.add_history_entry(entry)?;
        let started = Instant::now();
        match engine.query(&query).await {
            Ok(result) => {
                write(&result, format)?;
                let cut = if result.truncated { ", the first of more" } else { "" };
                println!("{} rows{cut}, {} ms", result.rows(), started.elapsed().as_millis());
            }
            // A wrong query is not the end of the session.
            Err(error) => eprintln!("{}", access::problem::chain(&error)),
        }
    }
    if let Err(error) = editor.save_history(&history) {
        eprintln!("the history was not kept: {error}");
    }
    Ok(ExitCode::SUCCESS)
}
