package form

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// inMemory is how many bytes of a form are kept in memory. Of a longer one all is in a
// file.
const inMemory = 128 << 10

// spool keeps what is written to it.
type spool struct {
	mem  bytes.Buffer
	file *os.File // nil while all is in memory
	size int64
	err  error // the first one of writing
}

// Write implements io.Writer.
func (s *spool) Write(p []byte) (n int, err error) {
	if s.file == nil && s.mem.Len()+len(p) > inMemory {
		err = s.spill()
	}
	switch {
	case err != nil:
	case s.file != nil:
		n, err = s.file.Write(p)
	default:
		n, err = s.mem.Write(p)
	}
	s.size += int64(n)
	if s.err == nil {
		s.err = err
	}
	return n, err
}

// spill moves what is in memory to a file that has no name any more, where the system
// allows this: nothing is left of it if the process ends.
func (s *spool) spill() error {
	f, err := os.CreateTemp("", "caddy-chat-form-*")
	if err != nil {
		return err
	}
	_ = os.Remove(f.Name()) // elsewhere Close does
	s.file = f
	_, err = f.Write(s.mem.Bytes())
	s.mem = bytes.Buffer{}
	return err
}

// part returns the bytes from one up to another.
func (s *spool) part(from, to int64) io.Reader {
	if s.file == nil {
		return bytes.NewReader(s.mem.Bytes()[from:to])
	}
	return io.NewSectionReader(s.file, from, to-from)
}

// Close removes the file.
func (s *spool) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	_ = os.Remove(s.file.Name())
	if err != nil {
		return fmt.Errorf("removing the form: %w", err)
	}
	return nil
}
