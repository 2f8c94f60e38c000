//! An S3 server over a folder.

use s3_server::{ACCESS_KEY, Options, S3Server, SECRET_KEY};
use tempfile::TempDir;

/// A server, stopped when dropped. It runs on the tokio runtime that starts it.
pub struct S3 {
    options: Options,
    bucket: String,
    server: Option<S3Server>,
    _folder: TempDir,
}

impl S3 {
    /// Starts one with a bucket.
    ///
    /// # Errors
    /// Why there can be none.
    pub async fn start(bucket: &str) -> Result<Self, String> {
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let mut options = Options::new(folder.path(), bucket);
        let server = S3Server::start(options.clone()).await.map_err(|error| error.to_string())?;
        options.listen = server.address();
        Ok(Self { options, bucket: bucket.to_owned(), server: Some(server), _folder: folder })
    }

    /// Breaks all connections and serves no more.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    /// Serves again, on its address and data.
    pub async fn restart(&mut self) {
        if self.server.is_none() {
            self.server = Some(S3Server::start(self.options.clone()).await.expect("its address is free"));
        }
    }

    /// The setting `storage` for it.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "s3://{}/instance?endpoint=http://{}&region=us-east-1&path_style=true",
            self.bucket, self.options.listen
        )
    }

    /// The variables in which the program looks for the keys.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }
}
