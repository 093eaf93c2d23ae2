vcl 4.1;

# Varnish with its built-in VCL, which follows the request and response methods that an
# origin's fields allow. The parameters are the ones with which the authors of
# http-cache-tests publish results for Varnish:
#
# What has no explicit freshness is not kept for 120 s: the tests take that for a fault.
# -p default_ttl=0
# Stale copies are not served for 10 s after they expired, for the same reason.
# -p default_grace=0
# Stale copies are kept for an hour, so that they can be validated.
# -p default_keep=3600

backend default {
    .host = "127.0.0.1";
    .port = "@originPort@";
}
