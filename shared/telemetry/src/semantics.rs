//! Names of the OpenTelemetry semantic conventions that this crate records, beside those the layer reads itself.

pub(crate) use opentelemetry_semantic_conventions::SCHEMA_URL;
pub(crate) use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE, RPC_METHOD, RPC_METHOD_ORIGINAL,
    RPC_RESPONSE_STATUS_CODE, RPC_SYSTEM_NAME, SERVER_ADDRESS, SERVICE_INSTANCE_ID, SERVICE_NAME,
    SERVICE_VERSION, URL_PATH,
};

/// Stands for what is not one of a known few, so that outsiders cannot invent values without end.
pub(crate) const OTHER: &str = "_OTHER";
