//! `AdminService`: for those who operate the control plane.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use tidegate_domain::FieldError;
use tidegate_proto::v1::admin_service_server::AdminService;
use tidegate_proto::{Code, v1};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::fault::Fault;
use super::{backup, fields, unimplemented};

const MAX_FILTER_BYTES: usize = 4_096;

/// Adapter for [`AdminService`].
pub(crate) struct Admin(pub(crate) Arc<Context>);

#[tonic::async_trait]
impl AdminService for Admin {
    type BackupStream = Pin<Box<dyn Stream<Item = Result<v1::BackupResponse, Status>> + Send>>;

    async fn backup(
        &self,
        _: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let pieces = backup::stream(&self.0).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(pieces))))
    }

    async fn set_log_level(
        &self,
        request: Request<v1::SetLogLevelRequest>,
    ) -> Result<Response<v1::SetLogLevelResponse>, Status> {
        let filter = request.into_inner().filter;
        fields::at_most("filter", &filter, filter.len(), MAX_FILTER_BYTES, "bytes")
            .map_err(Fault::from)?;
        let Some(handle) = &self.0.log_filter else {
            return Err(Fault::new(
                Code::FailedPrecondition,
                "what is logged is set by the program this control plane runs in",
            )
            .into());
        };
        handle
            .set(&filter)
            .map_err(|error| Fault::from(FieldError::new("filter", &filter, error.to_string())))?;
        tracing::info!(filter, "the log filter was changed");
        Ok(Response::new(v1::SetLogLevelResponse {}))
    }

    async fn create_token(
        &self,
        _: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        Err(unimplemented("CreateToken"))
    }

    async fn list_tokens(
        &self,
        _: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        Err(unimplemented("ListTokens"))
    }

    async fn revoke_token(
        &self,
        _: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        Err(unimplemented("RevokeToken"))
    }
}
