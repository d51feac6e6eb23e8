//! The function as a value that can be copied, sent, and called in the process that holds it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse_quote;

use super::super::borrow;
use super::super::check::Output;
use super::{Parts, boxed_name};

impl Parts<'_> {
    /// `Clone`, `Copy` and `Debug`, written out, because a derive would put bounds on the
    /// parameters.
    pub(super) fn value_impls(&self) -> TokenStream {
        let Parts { this, .. } = self;
        let (impl_generics, _, where_clause) = self.generics.split_for_impl();
        let path = self.path();
        quote! {
            #[automatically_derived]
            impl #impl_generics ::core::clone::Clone for #this #where_clause {
                fn clone(&self) -> Self { *self }
            }

            #[automatically_derived]
            impl #impl_generics ::core::marker::Copy for #this #where_clause {}

            #[automatically_derived]
            impl #impl_generics ::core::fmt::Debug for #this #where_clause {
                // Not `f`: a function may have that name, and would be taken for a constant here.
                fn fmt(
                    &self,
                    __crossmist_formatter: &mut ::core::fmt::Formatter<'_>,
                ) -> ::core::fmt::Result {
                    __crossmist_formatter.write_str(#path)
                }
            }
        }
    }

    /// A function object is only a type. Nothing needs to be sent.
    pub(super) fn object_impl(&self) -> TokenStream {
        let Parts {
            this, krate, value, ..
        } = self;
        let (impl_generics, _, where_clause) = self.generics.split_for_impl();
        quote! {
            #[automatically_derived]
            impl #impl_generics #krate::Object for #this #where_clause {
                fn encode<'__crossmist>(&'__crossmist self, _: &mut #krate::Encoder<'__crossmist>) {}

                fn decode(
                    _: &mut #krate::Decoder<'_>,
                ) -> ::core::result::Result<Self, #krate::DecodeError> {
                    ::core::result::Result::Ok(#value)
                }

                fn describe(_: &mut #krate::Shape) {}
            }
        }
    }

    /// `add(5, 7)` in this process: a callee is dereferenced until it can be called.
    pub(super) fn direct_call(&self) -> TokenStream {
        let Parts { this, pointer, .. } = self;
        let (impl_generics, _, where_clause) = self.generics.split_for_impl();
        let callee = self.callee();
        let boxed = self.boxed();
        quote! {
            #boxed

            #[automatically_derived]
            impl #impl_generics ::core::ops::Deref for #this #where_clause {
                type Target = #pointer;

                fn deref(&self) -> &Self::Target {
                    &(#callee as #pointer)
                }
            }
        }
    }

    /// The function that returns the future of an `async fn` in a box.
    fn boxed(&self) -> Option<TokenStream> {
        let Parts {
            krate,
            names,
            types,
            direct,
            ..
        } = self;
        let (impl_generics, _, where_clause) = self.generics.split_for_impl();
        self.function.is_async.then(|| {
            let name = boxed_name();
            let call = self.call(quote!(#(#names),*));
            quote! {
                fn #name #impl_generics (#(#names: #types),*) -> #direct #where_clause {
                    #krate::__private::Box::pin(#call)
                }
            }
        })
    }

    /// The call in this process of a function that has a sandbox.
    pub(super) fn unconfined_call(&self) -> TokenStream {
        let Parts {
            this,
            vis,
            names,
            types,
            direct,
            ..
        } = self;
        let (impl_generics, _, where_clause) = self.generics.split_for_impl();
        let callee = self.callee();
        let boxed = self.boxed();
        let docs = self.docs(
            "Calls",
            "in this process, where **nothing confines it**: for tests, and for input that is \
             trusted.",
        );
        quote! {
            #boxed

            #[allow(clippy::too_many_arguments)]
            impl #impl_generics #this #where_clause {
                #docs
                #[allow(dead_code)]
                #vis fn call_unconfined(self, #(#names: #types),*) -> #direct {
                    #callee (#(#names),*)
                }
            }
        }
    }

    /// The function as a callback. All three traits do the same.
    pub(super) fn callable_impls(&self) -> TokenStream {
        let Parts {
            this, krate, names, ..
        } = self;
        let output = match (self.function.is_async, &self.function.output) {
            (false, Output::Never) => &self.output,
            _ => &self.direct,
        };
        let mut generics = self.generics.clone();
        let (types, lifetimes) = borrow::named(&self.types);
        for lifetime in lifetimes {
            generics.params.insert(0, parse_quote!(#lifetime));
        }
        let (impl_generics, _, where_clause) = generics.split_for_impl();
        let callee = self.callee();
        quote! {
            #[automatically_derived]
            impl #impl_generics #krate::FnOnceObject<(#(#types,)*)> for #this
            #where_clause
            {
                type Output = #output;

                fn call_object_once(self, (#(#names,)*): (#(#types,)*)) -> #output {
                    #callee (#(#names),*)
                }

                fn call_boxed(
                    self: #krate::__private::Box<Self>,
                    (#(#names,)*): (#(#types,)*),
                ) -> #output {
                    #callee (#(#names),*)
                }
            }

            #[automatically_derived]
            impl #impl_generics #krate::FnMutObject<(#(#types,)*)> for #this
            #where_clause
            {
                fn call_object_mut(&mut self, (#(#names,)*): (#(#types,)*)) -> #output {
                    #callee (#(#names),*)
                }
            }

            #[automatically_derived]
            impl #impl_generics #krate::FnObject<(#(#types,)*)> for #this
            #where_clause
            {
                fn call_object(&self, (#(#names,)*): (#(#types,)*)) -> #output {
                    #callee (#(#names),*)
                }
            }
        }
    }
}
