"""The operations of the service, one module a subject; ``table`` maps requests to them."""
