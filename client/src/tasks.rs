//! Tasks: how far documents have come.

use std::time::Duration;

use reqwest::Method;
use twofold_types::{Task, TaskId, TaskPage};

use crate::path::path;
use crate::{Client, Error};

const FIRST_POLL: Duration = Duration::from_millis(25);
const SLOWEST_POLL: Duration = Duration::from_millis(500);

impl Client {
    /// Where a task stands.
    ///
    /// # Errors
    /// [`Error::is_not_found`] where it does not exist, or finished so long ago that it was forgotten.
    pub async fn get_task(&self, id: TaskId) -> Result<Task, Error> {
        self.call(Method::GET, &path(&["tasks", &id.to_string()])?).await
    }

    /// The newest tasks, the newest first.
    pub async fn list_tasks(&self) -> Result<Vec<Task>, Error> {
        let page: TaskPage = self.call(Method::GET, "/tasks").await?;
        Ok(page.tasks)
    }

    /// Asks for a task, less often as time goes on (every 25 ms at first, every 0.5 s at last), until it is finished, and
    /// answers its final state. Every state that was seen, the final one included, is handed to `progress`.
    ///
    /// A task that finished without storing anything is an answer, not an error: look at its `status` and `errors`. There
    /// is no time limit; put one around the call where one is needed. Dropping the call does not cancel the task.
    pub async fn wait_for_task(&self, id: TaskId, mut progress: impl FnMut(&Task)) -> Result<Task, Error> {
        let mut pause = FIRST_POLL;
        loop {
            let task = self.get_task(id).await?;
            progress(&task);
            if task.status.is_finished() {
                return Ok(task);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(SLOWEST_POLL);
        }
    }
}
