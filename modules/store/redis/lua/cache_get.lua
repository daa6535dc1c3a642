-- Reads a value. ARGV: the end of its key.
return cachedAt(ARGV[2])
