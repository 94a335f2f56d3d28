"""OpenAI's dialect: request schemas, reply shapes, and the routes that translate between them and the endpoint."""
