package aigateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/tidwall/sjson"

	"github.com/caddy-chat/caddy-chat/modules/author"
	"github.com/caddy-chat/caddy-chat/modules/door"
	"github.com/caddy-chat/caddy-chat/modules/provider"
)

// maxDocument is the largest answer that is assembled from a stream, or gathered by a door
// that writes one, in bytes.
const maxDocument = 64 << 20

// document makes a call and answers with one document.
func (c *call) document() error {
	a, err := c.try()
	if err != nil {
		return err
	}
	a.over(nil)
	c.answers(a)
	body := c.documentOf(a.document)
	c.begin()
	h := c.x.W.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.x.W.WriteHeader(http.StatusOK)
	// the call has succeeded even if the client is gone
	_, _ = c.x.W.Write(body)
	return nil
}

// documentOf returns a document in the API that the client has asked.
func (c *call) documentOf(d *provider.Completion) []byte {
	switch {
	case d.Native != nil:
		return d.Native
	case c.req.door != nil:
		return c.req.door.Document(c.withUsage(d.Body))
	}
	return c.withUsage(d.Body)
}

// callDocument makes a call for a document. If a budget may have to end the
// answer, the call is streamed and the document assembled here.
func (a *attempt) callDocument() error {
	var err error
	switch {
	case a.preq.Refused != nil:
		err = a.preq.Refused
	case a.c.req.operation == operationEmbeddings:
		a.document, err = a.embed()
	case !a.c.meter.hold.Bounded() && !slices.Contains(a.preq.Omit, "stream"):
		a.document, err = a.assemble()
		return err // the chunks have been noted one by one
	default:
		custom := a.functions()
		if a.document, err = a.provider().Complete(a.ctx, a.preq); err == nil {
			a.document = custom.Completion(author.Completion(a.document, a.preq.Model))
		}
	}
	if err == nil && a.c.req.operation == operationChat {
		err = provider.JudgeDocument(&a.document.Facts, a.c.req.choices)
	}
	if err == nil {
		err = a.note(&a.document.Facts)
	}
	if err != nil {
		return a.cause(err)
	}
	a.answering()
	return nil
}

// assemble makes a streaming call and assembles a document from it. Its usage is
// counted chunk by chunk, so a budget can end the answer.
func (a *attempt) assemble() (*provider.Completion, error) {
	a.preq.Assembled = a.preq.Native != nil
	if err := a.open(); err != nil {
		return nil, err
	}
	if a.preq.Native != nil {
		return a.assembleNative()
	}
	var beside door.Assembler
	if a.preq.Beside != nil {
		beside = a.c.req.beside.Assembler()
	}
	size := 0
	c, err := provider.Assemble(a.Next, func(chunk *provider.Chunk) error {
		if size += len(chunk.Raw); size > maxDocument {
			return provider.TooLong("the answer", maxDocument)
		}
		err := a.c.count(a, chunk)
		if _, spent := errors.AsType[*budgetError](err); spent {
			a.c.exhausted(err)
			a.over(err)
			return provider.ErrEnough
		}
		if err == nil && beside != nil {
			beside.Add(door.EventOf(chunk))
		}
		return err
	})
	if err == nil && beside != nil {
		c.Body, err = sjson.SetRawBytes(c.Body, provider.MemberNative, beside.Document(a.soFar()))
	}
	return c, err
}

// soFar returns what the answer has used, or up to where a budget has ended it.
func (a *attempt) soFar() provider.Usage {
	if a.c.meter.ended {
		return a.c.meter.used
	}
	return a.used()
}

// assembleNative assembles a document in the client's API from a stream of it.
func (a *attempt) assembleNative() (*provider.Completion, error) {
	d, size := a.c.req.door.Assembler(), 0
	for {
		chunk, err := a.Next()
		if errors.Is(err, io.EOF) {
			return &provider.Completion{Native: d.Document(a.soFar())}, nil
		}
		if err == nil {
			err = a.c.count(a, chunk)
		}
		if _, spent := errors.AsType[*budgetError](err); spent {
			a.c.exhausted(err)
			a.over(err)
			if chunk.Document {
				return &provider.Completion{Native: a.nothing(chunk.Model)}, nil
			}
			return &provider.Completion{Native: d.Document(a.soFar())}, nil
		}
		if err != nil {
			return nil, err
		}
		if chunk.Document {
			return &provider.Completion{Native: bytes.Clone(chunk.Native)}, nil
		}
		if size += len(chunk.Native); size > maxDocument {
			return nil, provider.TooLong("the answer", maxDocument)
		}
		d.Add(chunk.Native)
	}
}

// nothing returns a document without any of an answer that a budget has no room for.
func (a *attempt) nothing(model string) []byte {
	return a.c.req.door.Document(provider.Encode(map[string]any{
		"object": "chat.completion",
		"model":  model,
		"choices": []any{map[string]any{
			"index": 0, "message": map[string]string{"role": "assistant", "content": ""}, "finish_reason": finishLength,
		}},
		"usage": json.RawMessage(a.soFar().Member()),
	}))
}
