"""gRPC: server runner, channels, interceptors, errors on the wire. The only shared room that knows grpc."""
