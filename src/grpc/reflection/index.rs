//! The files that reflection serves, and the symbols that each one defines.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use tonic_reflection::pb::{v1, v1alpha};

use crate::pb;

/// The index, built at the first request.
pub(super) static INDEX: LazyLock<Index> = LazyLock::new(|| {
    // With google.rpc's error details, so that clients can read those of our statuses.
    Index::new(&[
        pb::FILE_DESCRIPTOR_SET,
        tonic_types::pb::FILE_DESCRIPTOR_SET,
        v1::FILE_DESCRIPTOR_SET,
        v1alpha::FILE_DESCRIPTOR_SET,
    ])
});

/// Files that their crates compiled under other names than their projects publish them.
const RENAMED: [(&str, &str); 4] = [
    ("status.proto", "google/rpc/status.proto"),
    ("error_details.proto", "google/rpc/error_details.proto"),
    ("reflection_v1.proto", "grpc/reflection/v1/reflection.proto"),
    ("reflection_v1alpha.proto", "grpc/reflection/v1alpha/reflection.proto"),
];

/// Files by their names and by the full names of their symbols.
pub(super) struct Index {
    files: Vec<File>,
    by_name: HashMap<String, usize>,
    /// A symbol's file.
    by_symbol: HashMap<String, usize>,
    /// The full names of messages, which may have extensions.
    messages: Vec<String>,
    services: Vec<String>,
}

struct File {
    descriptor: Vec<u8>,
    imports: Vec<String>,
}

impl Index {
    /// Indexes encoded sets of descriptors; a file that stands in several is one file.
    fn new(sets: &[&[u8]]) -> Self {
        let mut index = Self {
            files: Vec::new(),
            by_name: HashMap::new(),
            by_symbol: HashMap::new(),
            messages: Vec::new(),
            services: Vec::new(),
        };
        for set in sets {
            let set = FileDescriptorSet::decode(*set).expect("the descriptors were made by a build");
            set.file.into_iter().for_each(|file| index.add(file));
        }
        index
    }

    /// The encoded descriptors of the file of this name and of all that it imports.
    pub(super) fn file(&self, name: &str) -> Option<Vec<Vec<u8>>> {
        self.by_name.get(name).map(|file| self.with_imports(*file))
    }

    /// The same for the file that has the symbol of this full name: a message, field, oneof, enum, enum value, service or
    /// method.
    pub(super) fn file_of(&self, symbol: &str) -> Option<Vec<Vec<u8>>> {
        self.by_symbol.get(symbol).map(|file| self.with_imports(*file))
    }

    /// Whether there is a message of this full name.
    pub(super) fn has_message(&self, name: &str) -> bool {
        self.messages.iter().any(|message| message == name)
    }

    /// The full names of all services.
    pub(super) fn services(&self) -> &[String] {
        &self.services
    }

    fn with_imports(&self, file: usize) -> Vec<Vec<u8>> {
        let mut found = vec![file];
        let mut next = 0;
        while let Some(file) = found.get(next) {
            let imports = self.files[*file].imports.iter().filter_map(|import| self.by_name.get(import));
            let new: Vec<_> = imports.copied().filter(|import| !found.contains(import)).collect();
            found.extend(new);
            next += 1;
        }
        found.into_iter().map(|file| self.files[file].descriptor.clone()).collect()
    }

    fn add(&mut self, mut file: FileDescriptorProto) {
        for name in file.name.iter_mut().chain(&mut file.dependency) {
            if let Some((_, canonical)) = RENAMED.iter().find(|(built, _)| built == name) {
                *name = (*canonical).to_owned();
            }
        }
        if self.by_name.contains_key(file.name()) {
            return;
        }
        let (scope, descriptor) = (file.package().to_owned(), file.encode_to_vec());
        self.by_name.insert(file.name().to_owned(), self.files.len());
        self.files.push(File { descriptor, imports: file.dependency });
        for message in &file.message_type {
            self.add_message(&scope, message);
        }
        for enumeration in &file.enum_type {
            self.add_enum(&scope, enumeration);
        }
        for service in &file.service {
            let name = self.add_symbol(&scope, service.name());
            for method in &service.method {
                self.add_symbol(&name, method.name());
            }
            // Reflection itself is not part of the contract that it shows.
            if !name.starts_with("grpc.reflection.") {
                self.services.push(name);
            }
        }
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto) {
        let name = self.add_symbol(scope, message.name());
        for field in &message.field {
            self.add_symbol(&name, field.name());
        }
        for oneof in &message.oneof_decl {
            self.add_symbol(&name, oneof.name());
        }
        for enumeration in &message.enum_type {
            self.add_enum(&name, enumeration);
        }
        for nested in &message.nested_type {
            self.add_message(&name, nested);
        }
        self.messages.push(name);
    }

    /// An enum's values are symbols of the scope around it, as in C++.
    fn add_enum(&mut self, scope: &str, enumeration: &EnumDescriptorProto) {
        self.add_symbol(scope, enumeration.name());
        for value in &enumeration.value {
            self.add_symbol(scope, value.name());
        }
    }

    /// Adds a symbol of the file added last; returns its full name.
    fn add_symbol(&mut self, scope: &str, name: &str) -> String {
        let full = if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") };
        self.by_symbol.insert(full.clone(), self.files.len() - 1);
        full
    }
}
