package aigateway

import (
	"context"
	"net/url"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-chat/caddy-chat/modules/chat"
)

// What is asked of a model, in OpenTelemetry's words.
const (
	operationChat       = "chat"
	operationEmbeddings = "embeddings"
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
		attribute.String("gen_ai.provider.name", a.c.h.systems[a.hop.Target.Provider]),
		attribute.String("gen_ai.request.model", a.hop.Target.Model),
	)
	if id := a.c.x.Rec.Session; id != "" {
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
	if u, ok := a.counted(); ok {
		a.span.SetAttributes(attribute.Int64("gen_ai.usage.input_tokens", u.Input))
		if a.c.req.operation != operationEmbeddings {
			a.span.SetAttributes(attribute.Int64("gen_ai.usage.output_tokens", u.Output))
		}
	}
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

// systems are the provider types that OpenTelemetry has another name for, see
// https://github.com/open-telemetry/semantic-conventions-genai, attribute
// gen_ai.provider.name. A type that it has no name for keeps its own.
var systems = map[string]string{
	"bedrock": "aws.bedrock",
	"gemini":  "gcp.gemini",
}

// systemHosts are the providers that share a type with others and are told by
// their host. A leading dot or hyphen stands for any name before it.
var systemHosts = []struct{ host, system string }{
	{".openai.azure.com", "azure.ai.openai"},
	{".cognitiveservices.azure.com", "azure.ai.openai"},
	{".services.ai.azure.com", "azure.ai.openai"},
	{"aiplatform.googleapis.com", "gcp.vertex_ai"},
	{"-aiplatform.googleapis.com", "gcp.vertex_ai"},
	{"generativelanguage.googleapis.com", "gcp.gemini"},
	{"api.cohere.ai", "cohere"},
	{"api.deepseek.com", "deepseek"},
	{"api.groq.com", "groq"},
	{"api.mistral.ai", "mistral_ai"},
	{"api.perplexity.ai", "perplexity"},
	{"api.x.ai", "x_ai"},
}

// baseOf is a provider's base URL, empty where it has none.
func baseOf(mod any) string {
	if m, ok := mod.(interface{ Base() string }); ok {
		return m.Base()
	}
	return ""
}

// systemOf is OpenTelemetry's name for a provider of a type and a base URL,
// which may be empty.
func systemOf(kind, base string) string {
	if u, err := url.Parse(base); err == nil {
		host := strings.ToLower(u.Hostname())
		for _, s := range systemHosts {
			if host == s.host || strings.ContainsAny(s.host[:1], ".-") && strings.HasSuffix(host, s.host) {
				return s.system
			}
		}
	}
	if name, ok := systems[kind]; ok {
		return name
	}
	return kind
}
