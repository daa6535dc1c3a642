package aigateway

import (
	"errors"
	"io"
	"slices"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// maxHeld bounds what is held back while there is no content yet, in bytes.
const maxHeld = 1 << 20

// chunks is a stream of chunks, read one by one as provider.Stream's are.
type chunks interface {
	Next() (*provider.Chunk, error)
}

// source is a stream that has begun to answer.
type source struct {
	head  []*provider.Chunk // read already
	in    chunks
	ended bool // in has ended, honestly
}

// begins reads a stream until there is content. Nothing of it has been
// written by then: the attempt may still fail without a trace.
func begins(a *attempt, in chunks) (source, error) {
	s := source{in: in}
	held := 0
	for !a.content || len(s.head) == 0 {
		chunk, err := in.Next()
		if errors.Is(err, io.EOF) {
			s.ended = true
			return s, nil
		}
		if err != nil {
			return s, err
		}
		c := *chunk
		c.Raw = slices.Clone(chunk.Raw)
		s.head = append(s.head, &c)
		if held += len(c.Raw); held > maxHeld {
			break
		}
	}
	return s, nil
}

func (s *source) next() (*provider.Chunk, error) {
	switch {
	case len(s.head) > 0:
		chunk := s.head[0]
		s.head = s.head[1:]
		return chunk, nil
	case s.ended:
		return nil, io.EOF
	}
	return s.in.Next()
}

// stream makes a call whose answer is streamed.
func (c *call) stream() error {
	a, err := c.try()
	if err != nil {
		return err
	}
	c.answers(a)

	c.out = newChunkWriter(c)
	defer c.out.close()
	src := a.source
	for {
		err := c.pump(&src)
		if _, spent := errors.AsType[*budgetError](err); spent {
			return c.out.stop(err)
		}
		if err == nil {
			err = c.out.finish()
		}
		if err == nil {
			return nil
		}
		if src, err = c.rescue(err); err != nil {
			return c.cut(err)
		}
	}
}

// pump reads a chunk and writes a chunk until the answer is complete. What is
// written gathers until the provider has to be waited for, see beforeRead.
func (c *call) pump(src *source) error {
	for {
		chunk, err := src.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = c.count(c.answering, chunk)
		}
		if err == nil {
			err = c.out.write(chunk)
		}
		if err != nil {
			return c.interrupted(chunk, err)
		}
	}
}

// interrupted sends what has been written before err ended the answer, or its
// source. chunk is the one that was not written, nil where none was read.
func (c *call) interrupted(chunk *provider.Chunk, err error) error {
	if chunk != nil {
		c.out.shape(chunk.Raw)
	}
	_ = c.out.flush() // a client that has gone has ended the call
	return err
}

// beforeRead is called before the attempt waits for its provider.
func (a *attempt) beforeRead() {
	if a.c.out != nil {
		_ = a.c.out.flush() // a client that has gone has ended the call
	}
	a.stall.waiting()
}

// cut ends a stream that failed. Once content is out, an error frame without
// [DONE] says that the answer is not whole. A provider that has begun to
// answer did not find the request at fault, whatever it says now: its reason
// is not passed on.
func (c *call) cut(err error) error {
	err = c.failed(err)
	if c.stage == stageWaiting {
		return err
	}
	e := apierror.From(err)
	switch reasonOf(err) {
	case provider.ReasonInvalid, provider.ReasonContextLength, provider.ReasonModel:
		e = apierror.AIError().Because(err)
	}
	c.x.Rec.ErrorCode = e.Code
	c.stage = stageFailed
	c.out.fail(e)
	return e
}
