"""The wire: messages and stubs generated from the .proto files when the package is built."""
