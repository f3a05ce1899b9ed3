// Asks tokenecho from Go, with the code that protoc generated from proto/: once for a stream, once for a whole answer.
// Run it in this folder: go run . 127.0.0.1:50051 KEY
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	tokenechov1 "example.com/client/tokenecho/v1"
)

func main() {
	address, key := os.Args[1], os.Args[2]
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	chat := tokenechov1.NewChatServiceClient(conn)
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+key)
	model := "gpt-4o"
	request := &tokenechov1.CreateChatCompletionRequest{
		Model: &model,
		Messages: []*tokenechov1.ChatMessage{{
			Role:    tokenechov1.Role_ROLE_USER,
			Content: &tokenechov1.ChatMessage_Text{Text: "Hello there"},
		}},
	}

	stream, err := chat.StreamChatCompletion(ctx, request)
	if err != nil {
		log.Fatal(err)
	}
	for {
		item, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Print(item.Choices[0].Delta.GetContent())
	}
	fmt.Println()

	answer, err := chat.CreateChatCompletion(ctx, request)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Choices[0].Message.GetContent())
}
