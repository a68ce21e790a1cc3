//! Notices as notifications of MCP.
#![expect(deprecated, reason = "2026-07-28 deprecates logging, and still has it")]

use rmcp::model::{
    LoggingMessageNotification, LoggingMessageNotificationParam, ProgressNotification,
    ProgressNotificationParam, RequestId, ServerNotification,
};

use crate::converse::{Line, Notice, mark};

/// The notification for a notice of a call that answers `request`; none when that wants no progress.
pub(crate) fn of(notice: Notice, line: &Line, request: &RequestId) -> Option<ServerNotification> {
    Some(match notice {
        Notice::Progress { progress, total, message } => {
            let mut params = ProgressNotificationParam::new(line.progress.clone()?, progress);
            params.total = total;
            params.message = message;
            let mut notification = ProgressNotification::new(params);
            mark(&mut notification.extensions, request);
            ServerNotification::ProgressNotification(notification)
        }
        Notice::Log { level, logger, text } => {
            let mut params = LoggingMessageNotificationParam::new(level, text.into());
            params.logger = (!logger.is_empty()).then_some(logger);
            let mut notification = LoggingMessageNotification::new(params);
            mark(&mut notification.extensions, request);
            ServerNotification::LoggingMessageNotification(notification)
        }
    })
}
