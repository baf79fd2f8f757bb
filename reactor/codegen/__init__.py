"""What is generated from an app's functions and schema: TypeScript types, a typed Python stub, an OpenAPI document."""
