//! A small HTTP client. It follows no redirect, decodes nothing and caches nothing.

use std::str::FromStr as _;

use bytes::Bytes;
use http::header::{HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::wait::within;

/// A client of one server.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    fields: HeaderMap,
}

/// A whole response.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Header fields.
    pub headers: HeaderMap,
    /// Body, as sent.
    pub body: Bytes,
}

impl HttpClient {
    /// A client of the server at `http://host:port`.
    pub fn new(base: &str) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            base: base.trim_end_matches('/').to_owned(),
            fields: HeaderMap::new(),
        }
    }

    /// The same client, asking for another host than the address says.
    #[must_use]
    pub fn host(self, host: &str) -> Self {
        self.field(HOST.as_str(), host)
    }

    /// The same client, sending a field with every request.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_str(name).expect("a test names a legal field");
        let value = HeaderValue::from_str(value).expect("a test gives a legal value");
        self.fields.insert(name, value);
        self
    }

    /// The server's address, `http://host:port`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.get_with(path, &[]).await
    }

    /// GET with header fields.
    pub async fn get_with(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.send(Method::GET, path, fields, Bytes::new()).await
    }

    /// HEAD.
    pub async fn head(&self, path: &str) -> Reply {
        self.send(Method::HEAD, path, &[], Bytes::new()).await
    }

    /// Any request; waits for the whole response.
    ///
    /// # Panics
    ///
    /// If there is no whole response in time.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let what = format!("a response to {method} {}{path}", self.base);
        match within(&what, self.try_send(method, path, fields, body.into())).await {
            Ok(reply) => reply,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// Any request, for tests in which it may fail.
    ///
    /// # Errors
    ///
    /// What went wrong: no connection, or one that ended in the middle.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Reply, HttpError> {
        let response = self.begin(method, path, fields, body).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    /// Any request; returns as soon as the header of the response is there.
    ///
    /// # Errors
    ///
    /// No connection, or one that ended before the header.
    pub async fn begin(
        &self,
        method: Method,
        path: &str,
        fields: &[(&str, &str)],
        body: Bytes,
    ) -> Result<http::Response<Incoming>, HttpError> {
        let uri: Uri = format!("{}{path}", self.base)
            .parse()
            .expect("a test asks for a legal URL");
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut request = request
            .body(Full::new(body))
            .expect("a test sends legal fields");
        for (name, value) in &self.fields {
            request
                .headers_mut()
                .entry(name)
                .or_insert_with(|| value.clone());
        }
        Ok(self.client.request(request).await?)
    }
}

impl Reply {
    /// A field's value, or the empty string.
    pub fn field(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why there is no whole response.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No response at all.
    #[error("no response: {0}")]
    NoResponse(#[from] hyper_util::client::legacy::Error),
    /// The body ended before its end.
    #[error("the body was cut short: {0}")]
    CutShort(#[from] hyper::Error),
}
