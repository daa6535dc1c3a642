package aigateway

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-chat/caddy-chat/modules/chat"
)

// startSpan begins the span of an attempt, by OpenTelemetry's conventions for
// generative AI. It belongs to the request's own span, which Caddy's tracing
// has begun; where it has not, the span records nothing.
func (a *attempt) startSpan() (context.Context, trace.Span) {
	tracer := trace.SpanFromContext(a.ctx).TracerProvider().Tracer("github.com/caddy-chat/caddy-chat")
	operation := a.c.req.operation
	ctx, span := tracer.Start(a.ctx, operation+" "+a.hop.Target.Model, trace.WithSpanKind(trace.SpanKindClient))
	if !span.IsRecording() {
		return ctx, span
	}
	span.SetAttributes(
		attribute.String("gen_ai.operation.name", operation),
		attribute.String("gen_ai.provider.name", a.c.h.types[a.hop.Target.Provider]),
		attribute.String("gen_ai.request.model", a.hop.Target.Model),
	)
	if id := a.c.x.rec.Session; id != "" {
		span.SetAttributes(attribute.String("gen_ai.conversation.id", id))
	}
	return ctx, span
}

// endSpan ends the attempt's span. Why an attempt failed is in the log: an
// error may quote what was said.
func (a *attempt) endSpan(err error) {
	defer a.span.End()
	if !a.span.IsRecording() {
		return
	}
	u := a.used()
	a.span.SetAttributes(
		attribute.Int64("gen_ai.usage.input_tokens", u.Input),
		attribute.Int64("gen_ai.usage.output_tokens", u.Output),
	)
	if a.model != "" {
		a.span.SetAttributes(attribute.String("gen_ai.response.model", a.model))
	}
	if a.finish != "" {
		a.span.SetAttributes(attribute.StringSlice("gen_ai.response.finish_reasons", []string{a.finish}))
	}
	if err != nil && a.result != chat.AttemptAborted {
		a.span.SetAttributes(attribute.String("error.type", a.result))
		a.span.SetStatus(codes.Error, a.result)
	}
}
