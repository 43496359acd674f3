//! Runtime logs.

use crate::{Caller, Control, Error, LogQuery, LogStream};
use futures_util::StreamExt;

impl Control {
    /// What a deployment's functions wrote. A followed stream ends when this process hands over to another: ask again
    /// with the last id.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the log cannot be read.
    pub async fn logs(&self, caller: &Caller, deployment: &str, query: LogQuery) -> Result<LogStream, Error> {
        let deployment = self.find(caller, deployment).await?;
        let stream = self.platform().logs(deployment.id, query).await?;
        Ok(stream.take_until(self.closing().clone().cancelled_owned()).boxed())
    }
}
